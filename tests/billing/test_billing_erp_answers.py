"""What each class of answer makes of an invoice: docs/spec/failures.md, row by row, and what holds for any."""

from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from altibiz.outcomes import kind_of_status
from billing.erp_answers import (
    COUNTED,
    OFFER_AGAIN,
    SIGNS,
    AnswerPolicy,
    Booking,
    Counts,
    Decision,
    ErpHealth,
    Method,
    Outcome,
    OutcomeKind,
    decide,
    not_sent,
)
from billing.states import FINAL_STATES, State, is_allowed

POLICY = AnswerPolicy(10.0, 1.0, 300.0, 5, lambda _, most: most)
JITTER = replace(POLICY, uniform=Random(1).uniform)
FAILING = [kind for kind, (health, _) in SIGNS.items() if health is ErpHealth.FAILS]
LATE = Counts(failures=3, polls=2, incorrect=1)


def booking(state: str, method: Method = "PUT", bill_id: str | None = None, reason: str | None = None) -> Outcome:
    booked = Booking("u.2026-10.1", state, bill_id, reason, Decimal("113.00"))
    return Outcome(OutcomeKind.BOOKED, method, 200, state, booking=booked)


def answer(kind: OutcomeKind, method: Method = "PUT", status: int | None = None, wait: float | None = None) -> Outcome:
    if kind is OutcomeKind.BOOKED:
        return booking("registered", method, "B-1")
    return Outcome(kind, method, status, "why", wait)


def by_status(method: Method, status: int, retry_after_seconds: float | None = None) -> Outcome:
    kind = kind_of_status(method, status)
    assert kind is not None, "the status alone decides"
    return answer(kind, method, status, retry_after_seconds)


@dataclass(frozen=True)
class Row:
    """A row of the specification's table: what came back, and every field of the decision that is not as before."""

    outcome: Outcome
    health: ErpHealth
    alarm: str | None
    expected: dict[str, object]
    state: State = State.SENT
    counts: Counts = LATE


def failing(status: int | None, *, stored: str, wait: float | None = None, delay: float = 8.0) -> Row:
    """No answer, 5xx, 429, 408 and what is treated the same: a retry, with backoff."""
    outcome = answer(OutcomeKind.UNREACHABLE) if status is None else by_status("PUT", status, wait)
    alarm = "erp_unreachable" if status is None else "erp_error"
    return Row(outcome, ErpHealth.FAILS, alarm, {"failures": 4, "outcome": stored, "delay_seconds": delay})


HELD = {"to_state": State.HELD, "failures": 4, "delay_seconds": None, "counted": None}
WORKS, UNKNOWN = ErpHealth.WORKS, ErpHealth.UNKNOWN
REFUSED = {"failures": 4, "outcome": "refused", "delay_seconds": 8.0, "counted": "refused"}
INCORRECT = {"failures": 4, "outcome": "incorrect", "delay_seconds": 8.0, "counted": "incorrect"}
TABLE = {
    "no_answer": failing(None, stored="unreachable"),
    **{f"{status}": failing(status, stored="error") for status in (408, 500, 502, 599)},
    "500_with_retry_after": failing(500, stored="error", wait=77.0, delay=77.0),
    "503_pauses_the_gateway": failing(503, stored="error", wait=77.0),
    "429": failing(429, stored="too_many_requests", wait=77.0),
    "says_nothing_of_an_invoice": Row(
        answer(OutcomeKind.NONSENSE, status=200), ErpHealth.FAILS, "erp_incorrect_data",
        {"failures": 4, "outcome": "nonsense", "delay_seconds": 8.0},
    ),
    **{f"not_contract_{status}": failing(status, stored="not_contract") for status in (404, 302, 204, 418)},
    **{f"{status}": Row(by_status("PUT", status), ErpHealth.REFUSES_CREDENTIALS, "erp_credentials",
                        {"outcome": "credentials"}) for status in (401, 403)},
    **{f"{status}": Row(by_status("PUT", status), UNKNOWN, "erp_refused_invoice", REFUSED)
       for status in (400, 413, 422)},
    "422_with_witness": Row(
        by_status("PUT", 422), UNKNOWN, "erp_refused_invoice",
        REFUSED | HELD | {"held_code": "erp_refused_invoice", "held_reason": "PUT: why"},
        counts=replace(LATE, witnessed=True),
    ),
    "409": Row(
        by_status("PUT", 409), WORKS, None,
        {"to_state": State.HELD, "outcome": "conflict", "failures": 0, "held_code": "erp_conflict",
         "held_reason": "the ERP has this id with other content (why)"},
    ),
    "404_after_sent": Row(by_status("GET", 404), WORKS, None, {"outcome": "absent", "failures": 0}),
    "404_after_initiated": Row(
        by_status("GET", 404), WORKS, None, {"to_state": State.SENT, "outcome": "absent", "failures": 0},
        state=State.INITIATED,
    ),
    "wrong_about_one_invoice": Row(
        answer(OutcomeKind.INCORRECT, status=200), UNKNOWN, "erp_incorrect_data", INCORRECT
    ),
    "wrong_without_witness": Row(
        answer(OutcomeKind.INCORRECT), UNKNOWN, "erp_incorrect_data", INCORRECT, counts=replace(LATE, incorrect=99)
    ),
    "wrong_with_witness_below_the_limit": Row(
        answer(OutcomeKind.INCORRECT), UNKNOWN, "erp_incorrect_data", INCORRECT,
        counts=replace(LATE, incorrect=3, witnessed=True),
    ),
    "wrong_with_witness_at_the_limit": Row(
        answer(OutcomeKind.INCORRECT), UNKNOWN, "erp_incorrect_data",
        INCORRECT | HELD | {"held_code": "erp_incorrect_data", "held_reason": "PUT: why"},
        counts=replace(LATE, incorrect=4, witnessed=True),
    ),
    "registered": Row(
        booking("registered", bill_id="B-1"), WORKS, None,
        {"to_state": State.REGISTERED, "bill_id": "B-1", "outcome": "booked", "failures": 0, "passed": True},
    ),
    "aborted": Row(
        booking("aborted", "GET", reason="no project"), WORKS, None,
        {"to_state": State.ABORTED, "abort_reason": "no project", "failures": 0, "passed": True},
    ),
    "initiated": Row(
        booking("initiated"), WORKS, None,
        {"to_state": State.INITIATED, "outcome": "booked", "failures": 0, "polls": 0, "passed": True,
         "delay_seconds": 10.0},
    ),
    "still_initiated": Row(
        booking("initiated", "GET"), WORKS, None, {"failures": 0, "polls": 3, "passed": True, "delay_seconds": 80.0},
        state=State.INITIATED,
    ),
    "offer_not_sent": Row(
        answer(OutcomeKind.NOT_SENT), UNKNOWN, None, {"outcome": "not_sent", "given_back": True}
    ),
    "question_not_sent": Row(answer(OutcomeKind.NOT_SENT, "GET"), UNKNOWN, None, {}),
}  # fmt: skip


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_the_table_of_the_specification(row: Row) -> None:
    decision = decide(row.state, row.outcome, row.counts, POLICY)
    as_before = Decision(reason=decision.reason, failures=row.counts.failures, polls=row.counts.polls)
    assert decision == replace(as_before, **row.expected)  # type: ignore[arg-type]
    assert SIGNS[row.outcome.kind] == (row.health, row.alarm)


def test_the_table_has_every_kind_of_answer() -> None:
    assert {row.outcome.kind for row in TABLE.values()} == set(OutcomeKind) == set(SIGNS)
    assert {kind for kind, (health, _) in SIGNS.items() if health is not WORKS} - {OutcomeKind.NOT_SENT} == {
        kind for kind, (_, alarm) in SIGNS.items() if alarm
    }


def test_an_initiated_one_is_asked_about_first_after_the_interval_then_with_backoff() -> None:
    delays = [
        decide(State.INITIATED, booking("initiated", "GET"), Counts(polls=polls), POLICY).delay_seconds or 0.0
        for polls in range(8)
    ]
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (20.0, 300.0)


@pytest.mark.parametrize("kind", FAILING)
def test_what_speaks_against_the_erp_is_tried_again_with_full_jitter(kind: OutcomeKind) -> None:
    delays = []
    for failures in range(20):
        decision = decide(State.SENT, answer(kind, status=500), Counts(failures=failures), JITTER)
        assert decision.to_state is None
        assert decision.failures == failures + 1
        assert decision.delay_seconds is not None
        assert 0 <= decision.delay_seconds <= min(300.0, 2.0**failures)
        delays.append(decision.delay_seconds)
    assert len(set(delays)) == len(delays), "no jitter"


@pytest.mark.parametrize(
    ("status", "asks_first"),
    [(400, False), (413, False), (422, False), (401, False), (403, False), (429, False), (500, True), (503, True),
     (408, True), (404, True), (302, True), (204, True)],
)  # fmt: skip
def test_after_which_statuses_of_an_offer_the_erp_is_asked_first(status: int, asks_first: bool) -> None:
    stored = decide(State.SENT, by_status("PUT", status), Counts(), POLICY).outcome
    assert (stored not in OFFER_AGAIN) is asks_first


@pytest.mark.parametrize("kind", OutcomeKind)
def test_after_which_kinds_of_answer_to_an_offer_the_erp_is_asked_first(kind: OutcomeKind) -> None:
    """Unknown is never success, and never "the ERP took nothing" either."""
    again = (OutcomeKind.REFUSED, OutcomeKind.CREDENTIALS, OutcomeKind.NOT_SENT, OutcomeKind.ABSENT)
    stored = decide(State.SENT, answer(kind), Counts(), POLICY).outcome
    assert stored is not None
    assert (stored in OFFER_AGAIN) is (kind in again)


ANSWERS = st.builds(
    answer,
    kind=st.sampled_from(OutcomeKind),
    method=st.sampled_from(["PUT", "GET"]),
    status=st.sampled_from([None, 200, 204, 400, 404, 409, 422, 429, 500, 503]),
    wait=st.none() | st.floats(0, 3600),
) | st.builds(booking, st.sampled_from(["initiated", "aborted"]), st.sampled_from(["PUT", "GET"]), reason=st.just("no"))
STATES = st.sampled_from([State.SENT, State.INITIATED])
COUNTS = st.builds(Counts, st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 100), st.booleans())


@given(STATES, ANSWERS, COUNTS)
def test_nothing_but_a_trusted_booking_is_ever_final(state: State, outcome: Outcome, counts: Counts) -> None:
    decision = decide(state, outcome, counts, JITTER)
    booked = outcome.booking.state if outcome.booking else None
    assert (decision.to_state in FINAL_STATES) == (booked in FINAL_STATES)
    assert (decision.bill_id is not None) == (decision.to_state is State.REGISTERED)
    assert decision.passed == (outcome.kind is OutcomeKind.BOOKED)
    assert decision.to_state is None or is_allowed(state, State(decision.to_state))


@pytest.mark.parametrize("kind", OutcomeKind)
@given(state=STATES, counts=COUNTS)
def test_nobody_is_blamed_without_a_witness(kind: OutcomeKind, state: State, counts: Counts) -> None:
    outcome = booking("initiated") if kind is OutcomeKind.BOOKED else answer(kind)
    decision = decide(state, outcome, replace(counts, witnessed=False), JITTER)
    assert (decision.to_state is State.HELD) == (kind is OutcomeKind.CONFLICT)
    assert decision.counted == COUNTED.get(kind)


@given(STATES, ANSWERS, COUNTS)
def test_a_held_invoice_has_a_code_and_a_reason_and_no_next_attempt(
    state: State, outcome: Outcome, counts: Counts
) -> None:
    decision = decide(state, outcome, counts, JITTER)
    held = decision.to_state is State.HELD
    assert held == (decision.held_code is not None) == (decision.held_reason is not None)
    assert not (held and (decision.counted or decision.delay_seconds is not None))
    assert decision.delay_seconds is None or 0 <= decision.delay_seconds <= 3600


@given(STATES, ANSWERS, COUNTS)
def test_a_question_leaves_the_last_outcome_of_the_offer_as_it_was(
    state: State, outcome: Outcome, counts: Counts
) -> None:
    stored = decide(state, replace(outcome, method="GET"), counts, JITTER).outcome
    assert stored == ("absent" if outcome.kind is OutcomeKind.ABSENT else None)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (booking("registered", bill_id="B-1"), "the ERP booked it as B-1"),
        (booking("aborted", reason="no contract"), "the ERP aborted it: no contract"),
        (booking("initiated"), "the ERP has it, its verdict is open"),
        (Outcome(OutcomeKind.ERROR, "GET", 500, "HTTP 500"), "GET: HTTP 500"),
        (Outcome(OutcomeKind.ERROR, "PUT", 500), "PUT: error"),
    ],
)
def test_the_history_says_what_the_answer_was(outcome: Outcome, reason: str) -> None:
    assert decide(State.SENT, outcome, LATE, POLICY).reason == reason


def test_jitter_reaches_from_nothing_to_the_whole_backoff() -> None:
    ranges: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        ranges.append((low, high))
        return high

    policy = replace(POLICY, uniform=uniform)
    for failures in (0, 1, 2, 8, 9, 100_000):
        policy.retry_seconds(failures)
    assert ranges == [(0.0, 1.0), (0.0, 2.0), (0.0, 4.0), (0.0, 256.0), (0.0, 300.0), (0.0, 300.0)]


def test_what_is_stored_of_an_answer_is_called_as_the_schema_says() -> None:
    assert [*OutcomeKind] == [
        "booked", "absent", "conflict", "refused", "credentials", "unreachable", "error", "not_contract", "nonsense",
        "incorrect", "not_sent",
    ]  # fmt: skip


def test_what_is_not_said_of_an_outcome_counts_and_decision_is_nothing() -> None:
    assert Outcome(OutcomeKind.ERROR, "PUT") == Outcome(
        OutcomeKind.ERROR, "PUT", None, "", None, None, request_left=True, local_fault=None, duration_seconds=0.0
    )
    assert Counts() == Counts(failures=0, polls=0, incorrect=0, witnessed=False)
    assert Decision(reason="") == Decision(reason="", failures=0, polls=0, given_back=False, passed=False)
    assert not_sent("PUT", "why", "trust") == Outcome(
        OutcomeKind.NOT_SENT, "PUT", detail="why", request_left=False, local_fault="trust"
    )
