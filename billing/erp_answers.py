"""Decides what becomes of an invoice after one request to the ERP, as a pure function of what came back.

docs/spec/failures.md, "What each class of ERP answer means", is the source of the table.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Literal

from billing.quarantine import backoff_seconds, is_held
from billing.states import State

Method = Literal["GET", "PUT"]
LocalFault = Literal["trust", "resources"]
"""The file of trusted certificates can't be used; or there are no file descriptors, threads or memory left."""
TOO_MANY_REQUESTS = 429


class OutcomeKind(StrEnum):
    """The classes of answer that the rest of the system tells apart."""

    BOOKED = "booked"
    """A booking of this invoice that can be trusted."""
    ABSENT = "absent"
    """404 on asking: the ERP doesn't have it."""
    CONFLICT = "conflict"
    """409: the ERP has the id with other content."""
    REFUSED = "refused"
    """400, 413 or 422 to an offer."""
    CREDENTIALS = "credentials"
    """401 or 403."""
    UNREACHABLE = "unreachable"
    """No answer, or one that was cut off."""
    ERROR = "error"
    """5xx, 429 or 408: the ERP, not the invoice."""
    NOT_CONTRACT = "not_contract"
    """A status that the contract's ERP doesn't give: another server answers."""
    NONSENSE = "nonsense"
    """An answer that says nothing about an invoice."""
    INCORRECT = "incorrect"
    """An answer that is wrong about this invoice; nothing of it is taken."""
    NOT_SENT = "not_sent"
    """Given back: nothing of the request left this process."""


@dataclass(frozen=True, slots=True)
class Booking:
    """The ERP's own booking of an invoice, as it stands."""

    id: str
    state: str
    bill_id: str | None
    abort_reason: str | None
    total_with_tax: Decimal


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one request; `booking` is there with BOOKED only."""

    kind: OutcomeKind
    method: Method
    status: int | None = None
    detail: str = ""
    retry_after_seconds: float | None = None
    booking: Booking | None = None
    request_left: bool = True
    """False only if it is certain that the ERP got no byte of the request."""
    local_fault: LocalFault | None = None
    """With NOT_SENT: what of this machine lets no request leave."""
    duration_seconds: float = 0.0

    @property
    def pauses_gateway(self) -> bool:
        """Whether Retry-After speaks for every invoice: on 429 and 503 (docs/spec/failures.md)."""
        return self.status in (TOO_MANY_REQUESTS, 503) and self.retry_after_seconds is not None


def not_sent(method: Method, detail: str, local_fault: LocalFault | None = None) -> Outcome:
    """The outcome of a request that was given back before anything of it left."""
    return Outcome(OutcomeKind.NOT_SENT, method, detail=detail, request_left=False, local_fault=local_fault)


class ErpHealth(Enum):
    """What an answer says about the ERP as a whole; the circuit breaker goes by it."""

    WORKS = "works"
    FAILS = "fails"
    REFUSES_CREDENTIALS = "refuses our credentials"
    UNKNOWN = "unknown"


# For each kind what it says of the ERP, and the code of the alarm that it raises while it lasts.
SIGNS: dict[OutcomeKind, tuple[ErpHealth, str | None]] = {
    OutcomeKind.BOOKED: (ErpHealth.WORKS, None),
    OutcomeKind.ABSENT: (ErpHealth.WORKS, None),
    OutcomeKind.CONFLICT: (ErpHealth.WORKS, None),
    OutcomeKind.REFUSED: (ErpHealth.UNKNOWN, "erp_refused_invoice"),
    OutcomeKind.INCORRECT: (ErpHealth.UNKNOWN, "erp_incorrect_data"),
    OutcomeKind.NOT_SENT: (ErpHealth.UNKNOWN, None),
    OutcomeKind.CREDENTIALS: (ErpHealth.REFUSES_CREDENTIALS, "erp_credentials"),
    OutcomeKind.UNREACHABLE: (ErpHealth.FAILS, "erp_unreachable"),
    OutcomeKind.ERROR: (ErpHealth.FAILS, "erp_error"),
    OutcomeKind.NOT_CONTRACT: (ErpHealth.FAILS, "erp_error"),
    OutcomeKind.NONSENSE: (ErpHealth.FAILS, "erp_incorrect_data"),
}
# Last outcomes after which an invoice is offered again without asking: the ERP said that it took nothing, or nothing of
# the request left. After any other the ERP is asked first.
OFFER_AGAIN = ("refused", "credentials", "too_many_requests", "not_sent", "absent")
CounterName = Literal["refused", "incorrect"]
COUNTED: dict[OutcomeKind, CounterName] = {OutcomeKind.REFUSED: "refused", OutcomeKind.INCORRECT: "incorrect"}


@dataclass(frozen=True, slots=True)
class Counts:
    """What stands against an invoice before this answer.

    `failures`: answers in a row that made it wait. `polls`: questions in a row whose verdict was open. `incorrect`:
    incorrect answers in a row. `witnessed`: since the first refusal, or incorrect answer, another invoice has passed
    the same step in this daemon (docs/spec/failures.md, "Blame needs a witness"); False while there was none.
    """

    failures: int = 0
    polls: int = 0
    incorrect: int = 0
    witnessed: bool = False


@dataclass(frozen=True, slots=True)
class AnswerPolicy:
    """The waits and limits in force; durations in seconds. `uniform` draws from a range, for jitter."""

    poll_interval_seconds: float
    retry_base_seconds: float
    retry_max_seconds: float
    max_incorrect_answers: int
    uniform: Callable[[float, float], float]

    def retry_seconds(self, failures: int) -> float:
        """Capped exponential backoff with full jitter."""
        return self.uniform(0.0, backoff_seconds(failures, self.retry_base_seconds, self.retry_max_seconds))

    def poll_seconds(self, polls: int) -> float:
        """The interval before the first question; each further wait is twice the last, up to the longest retry wait."""
        longest = max(self.retry_max_seconds, self.poll_interval_seconds)
        return backoff_seconds(polls, self.poll_interval_seconds, longest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to store of one invoice.

    `to_state` None leaves the state. `outcome` is the last outcome of an offer; None leaves it. `delay_seconds` counts
    from the database's now; None means that the next attempt may come at once. `given_back`: the attempt doesn't
    count. `passed`: all counts against the invoice are over. `counted` is the counter to raise; it is never set
    together with `to_state`.
    """

    reason: str
    failures: int = 0
    polls: int = 0
    to_state: str | None = None
    bill_id: str | None = None
    abort_reason: str | None = None
    held_code: str | None = None
    held_reason: str | None = None
    outcome: str | None = None
    delay_seconds: float | None = None
    given_back: bool = False
    passed: bool = False
    counted: CounterName | None = None


def decide(state: str, outcome: Outcome, counts: Counts, policy: AnswerPolicy) -> Decision:
    """Says what becomes of an invoice that stands in `state`, by what came of one offer (PUT) or question (GET).

    | kind | to state | next attempt | failures | else |
    | --- | --- | --- | --- | --- |
    | booked, registered or aborted | the same | never | 0 | passed; bill_id or reason |
    | booked, initiated | initiated | the poll interval, doubled with each question | 0 | passed |
    | absent | from initiated back to sent | at once | 0 | it is offered again |
    | conflict | held, `erp_conflict` | never | 0 | |
    | not sent | | at once | as before | an offer is given back |
    | credentials | | at once | as before | the gateway waits |
    | refused | held, `erp_refused_invoice`, with a witness | backoff | + 1 | counted |
    | incorrect | held, `erp_incorrect_data`, with a witness from the limit on | backoff | + 1 | counted |
    | unreachable, error, not the contract, nonsense | | backoff, at least Retry-After | + 1 | |

    Backoff has full jitter. The last outcome is stored of an offer only, save that "absent" always is. A Retry-After
    of the whole ERP is the gateway's.
    """
    stored = "too_many_requests" if outcome.status == TOO_MANY_REQUESTS else str(outcome.kind)
    offered = outcome.method == "PUT"
    as_before = Decision(
        reason=_reason(outcome), failures=counts.failures, polls=counts.polls, outcome=stored if offered else None
    )
    match outcome.kind:
        case OutcomeKind.BOOKED:
            return _take_booking(state, outcome, as_before, policy)
        case OutcomeKind.ABSENT:
            back = State.SENT if state == State.INITIATED else None
            return replace(as_before, to_state=back, outcome="absent", failures=0)
        case OutcomeKind.CONFLICT:
            why = f"the ERP has this id with other content ({outcome.detail})"
            return replace(as_before, to_state=State.HELD, held_code="erp_conflict", held_reason=why, failures=0)
        case OutcomeKind.NOT_SENT:
            return replace(as_before, given_back=offered)
        case OutcomeKind.CREDENTIALS:
            return as_before
    failed = replace(as_before, failures=counts.failures + 1)
    if outcome.kind in COUNTED:
        return _blame(outcome.kind, failed, counts, policy)
    delay_seconds = policy.retry_seconds(counts.failures)
    if outcome.retry_after_seconds is not None and not outcome.pauses_gateway:
        delay_seconds = max(delay_seconds, outcome.retry_after_seconds)
    return replace(failed, delay_seconds=delay_seconds)


def _take_booking(state: str, outcome: Outcome, as_before: Decision, policy: AnswerPolicy) -> Decision:
    booking = outcome.booking
    assert booking is not None, "BOOKED carries a booking"
    passed = replace(as_before, failures=0, passed=True)
    if booking.state == State.REGISTERED:
        return replace(passed, to_state=State.REGISTERED, bill_id=booking.bill_id)
    if booking.state == State.ABORTED:
        return replace(passed, to_state=State.ABORTED, abort_reason=booking.abort_reason)
    first = state != State.INITIATED
    polls = 0 if first else as_before.polls + 1
    to_state = State.INITIATED if first else None
    return replace(passed, to_state=to_state, polls=polls, delay_seconds=policy.poll_seconds(polls))


def _blame(kind: OutcomeKind, failed: Decision, counts: Counts, policy: AnswerPolicy) -> Decision:
    count, limit = (1, 1) if kind is OutcomeKind.REFUSED else (counts.incorrect + 1, policy.max_incorrect_answers)
    if is_held(count, limit, witnessed=counts.witnessed):
        _, code = SIGNS[kind]
        return replace(failed, to_state=State.HELD, held_code=code, held_reason=failed.reason)
    return replace(failed, counted=COUNTED[kind], delay_seconds=policy.retry_seconds(counts.failures))


def _reason(outcome: Outcome) -> str:
    booking = outcome.booking
    if booking is None:
        return f"{outcome.method}: {outcome.detail or outcome.kind}"
    if booking.state == State.REGISTERED:
        return f"the ERP booked it as {booking.bill_id}"
    if booking.state == State.ABORTED:
        return f"the ERP aborted it: {booking.abort_reason}"
    return "the ERP has it, its verdict is open"
