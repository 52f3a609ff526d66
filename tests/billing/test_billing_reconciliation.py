"""What counts as a difference between an invoice and its bookings, and what is only open."""

from decimal import Decimal

import pytest

from billing.reconciliation import Difference, Kind, Side, compare

ID = "NU-1.2026-10.1"
TOTAL = Decimal("125.00")


def side(state: str, bill_id: str | None = None, total: str | None = "125.00") -> Side:
    return Side(state, bill_id, None if total is None else Decimal(total))


BOOKED = side("registered", "ALT-1")


@pytest.mark.parametrize(
    ("ours", "theirs", "kinds", "is_open"),
    [
        (BOOKED, [BOOKED], [], False),
        (BOOKED, [side("registered", "ALT-1", "125")], [], False),
        (BOOKED, [], [Kind.MISSING_THERE], False),
        (None, [BOOKED], [Kind.MISSING_HERE], False),
        (None, [BOOKED, side("registered", "ALT-2")], [Kind.DOUBLED, Kind.MISSING_HERE], False),
        (BOOKED, [side("registered", "ALT-1", "126.00")], [Kind.AMOUNT], False),
        (BOOKED, [side("registered", "ALT-2")], [Kind.BILL_ID], False),
        (BOOKED, [side("registered", "ALT-2", "1.00")], [Kind.AMOUNT, Kind.BILL_ID], False),
        (BOOKED, [side("aborted")], [Kind.STATE], False),
        (BOOKED, [side("initiated")], [Kind.STATE], False),
        (BOOKED, [side("lost")], [Kind.STATE], False),
        (BOOKED, [side("registered", "ALT-2"), BOOKED], [Kind.DOUBLED], False),
        (side("due", total=None), [], [], False),
        (side("calculated"), [], [], False),
        (side("calculated"), [BOOKED], [], True),
        (side("sent"), [], [], True),
        (side("sent"), [BOOKED], [], True),
        (side("sent"), [side("registered", "ALT-1", "1.00")], [Kind.AMOUNT], True),
        (side("initiated"), [side("initiated")], [], True),
        (side("aborted"), [], [], False),
        (side("aborted"), [side("aborted")], [], False),
        (side("aborted"), [BOOKED], [Kind.STATE], False),
        (side("held"), [], [], False),
        (side("held"), [side("initiated")], [], True),
        (side("held"), [BOOKED], [Kind.STATE], False),
    ],
)
def test_each_pair_is_judged(ours: Side | None, theirs: list[Side], kinds: list[Kind], is_open: bool) -> None:
    compared = compare(ID, ours, theirs)
    assert [each.kind for each in compared.differences] == kinds
    assert compared.is_open == is_open


def test_a_difference_says_what_each_side_has() -> None:
    (amount,) = compare(ID, BOOKED, [side("registered", "ALT-1", "126.00")]).differences
    assert amount == Difference(ID, Kind.AMOUNT, "125.00", "126.00")
    (here,) = compare(ID, None, [BOOKED]).differences
    assert here == Difference(ID, Kind.MISSING_HERE, None, "registered ALT-1 125.00 EUR")
    (there,) = compare(ID, BOOKED, []).differences
    assert there == Difference(ID, Kind.MISSING_THERE, "registered ALT-1 125.00 EUR", None)
    (state,) = compare(ID, BOOKED, [side("aborted")]).differences
    assert state == Difference(ID, Kind.STATE, "registered", "aborted")
    (bill_id,) = compare(ID, BOOKED, [side("registered", "ALT-2")]).differences
    assert bill_id == Difference(ID, Kind.BILL_ID, "ALT-1", "ALT-2")
    doubled, _ = compare(ID, None, [BOOKED, side("registered", "ALT-2")]).differences
    assert doubled == Difference(ID, Kind.DOUBLED, None, "registered ALT-1 125.00 EUR, registered ALT-2 125.00 EUR")
    (doubled,) = compare(ID, side("held"), [side("initiated"), BOOKED]).differences
    assert doubled.ours == "held 125.00 EUR"


def test_what_is_open_keeps_what_was_found() -> None:
    """Two bookings differ whatever the state."""
    found = compare(ID, side("held"), [side("initiated"), side("initiated")])
    assert [each.kind for each in found.differences] == [Kind.DOUBLED]
    assert found.is_open


def test_the_kinds_are_called_as_the_interface_says() -> None:
    assert [*Kind] == ["missing_there", "missing_here", "amount", "state", "bill_id", "doubled"]
