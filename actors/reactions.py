"""What an answer of the ERP makes of an invoice and of the gateway: docs/spec/failures.md as a pure function."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from altibiz.outcomes import Kind, Outcome
from persistence.claims import Delivery
from persistence.quarantine import InvoiceFault
from persistence.writes import Change, Exchange

TOO_MANY_REQUESTS = 429
# The alarm that each kind of answer raises while it lasts.
ALARM_OF: dict[Kind, str] = {
    Kind.UNREACHABLE: "erp_unreachable",
    Kind.ERROR: "erp_error",
    Kind.NOT_CONTRACT: "erp_error",
    Kind.NONSENSE: "erp_incorrect_data",
    Kind.INCORRECT: "erp_incorrect_data",
    Kind.REFUSED: "erp_refused_invoice",
    Kind.CREDENTIALS: "erp_credentials",
}


class Says(Enum):
    """What an answer says about the ERP as a whole."""

    WORKS = "works"
    FAILS = "fails"
    REFUSES_CREDENTIALS = "refuses our credentials"
    NOTHING = "nothing"


SAYS: dict[Kind, Says] = {
    Kind.BOOKED: Says.WORKS,
    Kind.ABSENT: Says.WORKS,
    Kind.CONFLICT: Says.WORKS,
    Kind.REFUSED: Says.NOTHING,
    Kind.INCORRECT: Says.NOTHING,
    Kind.NOT_SENT: Says.NOTHING,
    Kind.CREDENTIALS: Says.REFUSES_CREDENTIALS,
    Kind.UNREACHABLE: Says.FAILS,
    Kind.ERROR: Says.FAILS,
    Kind.NOT_CONTRACT: Says.FAILS,
    Kind.NONSENSE: Says.FAILS,
}


@dataclass(frozen=True, slots=True)
class Policy:
    """The waits and limits that go into a reaction; durations in seconds."""

    poll_interval_seconds: float
    retry_base_seconds: float
    retry_max_seconds: float
    max_incorrect_answers: int
    uniform: Callable[[float, float], float]

    def backoff(self, failures: int) -> float:
        """Capped exponential backoff with full jitter."""
        return self.uniform(0.0, min(self.retry_max_seconds, self.retry_base_seconds * 2.0 ** min(failures, 60)))

    def next_poll(self, polls: int) -> float:
        """The first asking after the interval, then with backoff up to the largest retry wait."""
        longest = max(self.retry_max_seconds, self.poll_interval_seconds)
        return min(longest, self.poll_interval_seconds * 2.0 ** min(polls, 60))


def react(delivery: Delivery, outcome: Outcome, policy: Policy) -> Change | InvoiceFault:
    """Says what to store for an answer (docs/spec/failures.md, "What each class of ERP answer means")."""
    change = Change(
        invoice_id=delivery.invoice_id,
        claim=delivery.claim,
        reason=_words(outcome),
        failures=delivery.failures,
        polls=delivery.polls,
        exchange=Exchange(outcome.method, str(outcome.kind), outcome.status, outcome.detail),
    )
    offered = delivery.action == "offer"
    match outcome.kind:
        case Kind.BOOKED:
            return _booked(delivery, outcome, policy, change)
        case Kind.ABSENT:
            return replace(
                change, to_state="sent" if delivery.state == "initiated" else None, outcome="absent", failures=0
            )
        case Kind.CONFLICT:
            return replace(
                change, to_state="held", outcome="conflict", held_code="erp_conflict", failures=0,
                held_reason=f"the ERP has this id with other content ({outcome.detail})",
            )  # fmt: skip
        case Kind.NOT_SENT:
            return replace(change, outcome="not_sent" if offered else None, given_back=offered, exchange=None)
        case Kind.CREDENTIALS:
            return replace(change, outcome="credentials" if offered else None)
        case Kind.REFUSED:
            waits = replace(change, outcome="refused", failures=delivery.failures + 1)
            waits = replace(waits, delay_seconds=policy.backoff(delivery.failures))
            return InvoiceFault(waits, "refused", 1, "erp_refused_invoice")
        case Kind.INCORRECT:
            waits = replace(change, outcome="incorrect" if offered else None, failures=delivery.failures + 1)
            waits = replace(waits, delay_seconds=policy.backoff(delivery.failures))
            return InvoiceFault(waits, "incorrect", policy.max_incorrect_answers, "erp_incorrect_data")
        case Kind.UNREACHABLE | Kind.ERROR | Kind.NOT_CONTRACT | Kind.NONSENSE:
            stored = "too_many_requests" if outcome.status == TOO_MANY_REQUESTS else str(outcome.kind)
            wait = policy.backoff(delivery.failures)
            if outcome.retry_after_seconds is not None and not outcome.pauses_gateway:
                wait = max(wait, outcome.retry_after_seconds)
            return replace(
                change, outcome=stored if offered else None, failures=delivery.failures + 1, delay_seconds=wait
            )


def incorrect(delivery_change: Change, reason: str, limit: int) -> InvoiceFault:
    """A booking that our own tables contradict (its `bill_id` is another invoice's): nothing is taken from it."""
    offered = delivery_change.exchange is not None and delivery_change.exchange.method == "PUT"
    exchange = delivery_change.exchange and replace(delivery_change.exchange, outcome="incorrect", detail=reason)
    change = Change(
        invoice_id=delivery_change.invoice_id, claim=delivery_change.claim, reason=reason,
        outcome="incorrect" if offered else None, failures=delivery_change.failures + 1, delay_seconds=1.0,
        exchange=exchange,
    )  # fmt: skip
    return InvoiceFault(change, "incorrect", limit, "erp_incorrect_data")


def _booked(delivery: Delivery, outcome: Outcome, policy: Policy, change: Change) -> Change:
    booking = outcome.booking
    assert booking is not None, "BOOKED carries a booking"
    passed = replace(change, outcome="booked" if delivery.action == "offer" else None, failures=0, passed=True)
    if booking.state == "registered":
        return replace(passed, to_state="registered", bill_id=booking.bill_id)
    if booking.state == "aborted":
        return replace(passed, to_state="aborted", abort_reason=booking.abort_reason)
    first = delivery.state != "initiated"
    polls = 0 if first else delivery.polls + 1
    return replace(passed, to_state="initiated" if first else None, polls=polls, delay_seconds=policy.next_poll(polls))


def _words(outcome: Outcome) -> str:
    if outcome.booking is None:
        return f"{outcome.method}: {outcome.detail}" if outcome.detail else f"{outcome.method}: {outcome.kind}"
    booking = outcome.booking
    match booking.state:
        case "registered":
            return f"the ERP booked it as {booking.bill_id}"
        case "aborted":
            return f"the ERP aborted it: {booking.abort_reason}"
        case _:
            return "the ERP has it, its verdict is open"
