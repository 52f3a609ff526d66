"""What each class of answer makes of an invoice: docs/spec/failures.md, cell by cell, and what holds for any."""

from decimal import Decimal
from random import Random
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.reactions import ALARM_OF, SAYS, Policy, Says, react
from altibiz.outcomes import Booking, Kind, Outcome
from persistence.claims import OFFER_AGAIN, Delivery
from persistence.quarantine import InvoiceFault
from persistence.writes import Change

TOTAL = Decimal("113.00")
POLICY = Policy(10.0, 1.0, 300.0, 5, Random(1).uniform)
FAILING = (Kind.UNREACHABLE, Kind.ERROR, Kind.NOT_CONTRACT, Kind.NONSENSE)


def delivery(
    action: Literal["offer", "ask"] = "offer", state: str = "sent", failures: int = 0, polls: int = 0
) -> Delivery:
    body = b"{}" if action == "offer" else None
    return Delivery("u.2026-10.1", 7, action, state, TOTAL, body, failures, polls, 0)


def booking(state: str, bill_id: str | None = None, abort_reason: str | None = None) -> Outcome:
    booked = Booking("u.2026-10.1", state, bill_id, abort_reason, TOTAL)
    return Outcome(Kind.BOOKED, "PUT", 200, state, booking=booked)


def outcome(kind: Kind, status: int | None = None, **more: float) -> Outcome:
    if kind is Kind.BOOKED:
        return booking("registered", "B-1")
    return Outcome(kind, "PUT", status, "why", **more)  # type: ignore[arg-type]


def change_of(write: Change | InvoiceFault) -> Change:
    return write.change if isinstance(write, InvoiceFault) else write


def test_a_registered_booking_is_stored_with_its_bill_id() -> None:
    change = react(delivery(), booking("registered", "B-1"), POLICY)
    assert isinstance(change, Change)
    assert (change.to_state, change.bill_id, change.passed, change.delay_seconds) == ("registered", "B-1", True, None)


def test_an_aborted_booking_is_stored_with_its_reason() -> None:
    change = react(delivery("ask"), booking("aborted", abort_reason="no project"), POLICY)
    assert isinstance(change, Change)
    assert (change.to_state, change.abort_reason) == ("aborted", "no project")


def test_an_initiated_one_is_asked_about_first_after_the_interval_then_with_backoff() -> None:
    first = react(delivery(), booking("initiated"), POLICY)
    assert isinstance(first, Change)
    assert (first.to_state, first.delay_seconds, first.polls) == ("initiated", 10.0, 0)
    delays = []
    for polls in range(8):
        again = react(delivery("ask", "initiated", polls=polls), booking("initiated"), POLICY)
        assert isinstance(again, Change)
        assert again.to_state is None
        assert again.delay_seconds is not None
        delays.append(again.delay_seconds)
    assert delays == sorted(delays)
    assert delays[0] == 20.0
    assert delays[-1] == 300.0


@pytest.mark.parametrize(("state", "to_state"), [("sent", None), ("initiated", "sent")])
def test_what_the_erp_does_not_have_is_offered_again(state: str, to_state: str | None) -> None:
    change = react(delivery("ask", state), outcome(Kind.ABSENT, 404), POLICY)
    assert isinstance(change, Change)
    assert (change.to_state, change.outcome, change.delay_seconds) == (to_state, "absent", None)


def test_a_conflict_is_held_at_once() -> None:
    change = react(delivery(), outcome(Kind.CONFLICT, 409), POLICY)
    assert isinstance(change, Change)
    assert (change.to_state, change.held_code) == ("held", "erp_conflict")


@pytest.mark.parametrize(
    ("kind", "code", "limit"),
    [(Kind.REFUSED, "erp_refused_invoice", 1), (Kind.INCORRECT, "erp_incorrect_data", 5)],
)
def test_what_speaks_against_the_invoice_needs_a_witness(kind: Kind, code: str, limit: int) -> None:
    write = react(delivery(), outcome(kind, 422), POLICY)
    assert isinstance(write, InvoiceFault)
    assert (write.code, write.limit, write.change.to_state) == (code, limit, None)
    assert write.change.delay_seconds is not None


@pytest.mark.parametrize("kind", FAILING)
def test_what_speaks_against_the_erp_is_tried_again_with_full_jitter(kind: Kind) -> None:
    delays = []
    for failures in range(20):
        change = react(delivery(failures=failures), outcome(kind, 500), POLICY)
        assert isinstance(change, Change)
        assert change.to_state is None
        assert change.failures == failures + 1
        assert change.delay_seconds is not None
        assert 0 <= change.delay_seconds <= min(300.0, 2.0**failures)
        delays.append(change.delay_seconds)
    assert len(set(delays)) == len(delays), "no jitter"


def test_retry_after_on_one_answer_is_a_least_wait() -> None:
    change = react(delivery(), outcome(Kind.ERROR, 500, retry_after_seconds=77.0), POLICY)
    assert isinstance(change, Change)
    assert change.delay_seconds == 77.0


@pytest.mark.parametrize(
    ("kind", "status", "asks_first"),
    [
        (Kind.REFUSED, 400, False), (Kind.REFUSED, 413, False), (Kind.REFUSED, 422, False),
        (Kind.CREDENTIALS, 401, False), (Kind.CREDENTIALS, 403, False), (Kind.ERROR, 429, False),
        (Kind.ERROR, 500, True), (Kind.ERROR, 503, True), (Kind.ERROR, 408, True), (Kind.UNREACHABLE, None, True),
        (Kind.NOT_CONTRACT, 404, True), (Kind.NOT_CONTRACT, 302, True), (Kind.NOT_CONTRACT, 204, True),
        (Kind.NONSENSE, 200, True), (Kind.INCORRECT, 200, True), (Kind.NOT_SENT, None, False),
    ],
)  # fmt: skip
def test_after_which_outcomes_of_an_offer_the_erp_is_asked_first(
    kind: Kind, status: int | None, asks_first: bool
) -> None:
    stored = change_of(react(delivery(), outcome(kind, status), POLICY)).outcome
    assert stored is not None
    assert (stored not in OFFER_AGAIN) is asks_first


def test_a_question_leaves_the_last_outcome_of_the_offer_as_it_was() -> None:
    for kind in (*FAILING, Kind.CREDENTIALS, Kind.INCORRECT, Kind.NOT_SENT):
        assert change_of(react(delivery("ask"), outcome(kind, 500), POLICY)).outcome is None


def test_what_was_given_back_counts_as_no_attempt() -> None:
    change = react(delivery(), outcome(Kind.NOT_SENT), POLICY)
    assert isinstance(change, Change)
    assert change.given_back
    assert change.exchange is None


def test_every_kind_of_answer_says_something_of_the_erp_and_every_bad_one_has_its_alarm() -> None:
    assert set(SAYS) == set(Kind)
    assert {kind for kind in Kind if SAYS[kind] is not Says.WORKS} - {Kind.NOT_SENT} == set(ALARM_OF)


@given(
    kind=st.sampled_from(list(Kind)),
    action=st.sampled_from(["offer", "ask"]),
    state=st.sampled_from(["sent", "initiated"]),
    failures=st.integers(0, 10_000),
    polls=st.integers(0, 10_000),
)
def test_nothing_but_a_trusted_booking_is_ever_final(
    kind: Kind, action: Literal["offer", "ask"], state: str, failures: int, polls: int
) -> None:
    write = react(delivery(action, state, failures, polls), outcome(kind, 200), POLICY)
    change = change_of(write)
    assert (change.invoice_id, change.claim) == ("u.2026-10.1", 7)
    assert (change.to_state in ("registered", "aborted")) == (kind is Kind.BOOKED)
    assert (change.bill_id is not None) == (change.to_state == "registered")
    assert change.passed == (kind is Kind.BOOKED)
    assert change.delay_seconds is None or 0 <= change.delay_seconds <= 300.0
