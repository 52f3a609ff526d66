"""How an invoice here and its bookings at the ERP differ, if they do."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from billing.states import WORKING_STATES, State


class Kind(StrEnum):
    """The kinds of difference (docs/spec/interfaces.md, "JSON")."""

    MISSING_THERE = "missing_there"
    MISSING_HERE = "missing_here"
    AMOUNT = "amount"
    STATE = "state"
    BILL_ID = "bill_id"
    DOUBLED = "doubled"


@dataclass(frozen=True, slots=True)
class Side:
    """An invoice as one side has it; `total_with_tax_eur` None: not calculated yet."""

    state: str
    bill_id: str | None
    total_with_tax_eur: Decimal | None

    def __str__(self) -> str:
        parts = (self.state, self.bill_id, self.total_with_tax_eur and f"{self.total_with_tax_eur:f} EUR")
        return " ".join(str(part) for part in parts if part)


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the two sides differ, with what each of them says."""

    id: str
    kind: Kind
    ours: str | None
    theirs: str | None


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of one comparison; `is_open`: not settled yet, so that nothing follows from it."""

    differences: tuple[Difference, ...] = ()
    is_open: bool = False


def compare(invoice_id: str, ours: Side | None, theirs: Sequence[Side]) -> Compared:
    """Compares an invoice with all the bookings that the ERP has of it (docs/spec/interfaces.md, "JSON")."""
    found: list[Difference] = []
    if len(theirs) > 1:
        listed = ", ".join(str(each) for each in theirs)
        found.append(Difference(invoice_id, Kind.DOUBLED, None if ours is None else str(ours), listed))
    if ours is None:
        found.append(Difference(invoice_id, Kind.MISSING_HERE, None, str(theirs[0])))
        return Compared(tuple(found))
    if not theirs:
        if ours.state == State.REGISTERED:
            found.append(Difference(invoice_id, Kind.MISSING_THERE, str(ours), None))
        return Compared(tuple(found), is_open=ours.state in (State.SENT, State.INITIATED))
    booking = next((each for each in theirs if each.bill_id == ours.bill_id), theirs[0])
    if ours.total_with_tax_eur is not None and ours.total_with_tax_eur != booking.total_with_tax_eur:
        amounts = f"{ours.total_with_tax_eur:f}", f"{booking.total_with_tax_eur:f}"
        found.append(Difference(invoice_id, Kind.AMOUNT, *amounts))
    if ours.state in WORKING_STATES:  # a step of ours is still to come: it will take the booking
        return Compared(tuple(found), is_open=True)
    if ours.state == State.HELD and booking.state == State.INITIATED:
        return Compared(tuple(found), is_open=True)
    if ours.state != booking.state:
        found.append(Difference(invoice_id, Kind.STATE, ours.state, booking.state))
    elif ours.bill_id != booking.bill_id:
        found.append(Difference(invoice_id, Kind.BILL_ID, ours.bill_id, booking.bill_id))
    return Compared(tuple(found))
