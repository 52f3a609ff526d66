"""The actor that decides what is asked of the ERP, by which courier and when; it does no I/O itself."""

import logging
from collections import deque
from dataclasses import dataclass

from actors.circuit_breaker import BreakerPolicy, CircuitBreaker
from actors.condition_reporter import ConditionReporter
from actors.context import ActorContext
from actors.courier import leave_by_seconds
from actors.failpoints import failpoint
from actors.messages import (
    DB_WRITER,
    ClaimDeliveries,
    ClaimedDeliveries,
    CourierReady,
    Drain,
    ErpStatus,
    ExchangeFinished,
    GetErpStatus,
    InvoiceHeld,
    Overdue,
    Ping,
    Poll,
    ResetBackoffs,
    SendRequest,
    WriteOutcome,
)
from alarming.catalogue import Code
from billing.erp_answers import SIGNS, ErpHealth, Outcome, OutcomeKind, not_sent
from billing.states import State
from persistence.invoices.claims import Delivery
from supervision import Actor, Timer
from supervision.errors import SupervisionError

logger = logging.getLogger(__name__)

PENDING_LOOK_SECONDS = 2.0
BREAKER_LOOK_SECONDS = 0.5
ANSWER_OVERDUE_SECONDS = 30.0
# After so long without an answer of the database, the ERP is tried without an invoice.
UNANSWERED_SECONDS = 0.3
# How much is claimed ahead: for so long, so that another daemon finds work too, and so many for each courier.
AHEAD_SECONDS = 1.0
AHEAD_PER_COURIER_AT_LEAST, AHEAD_PER_COURIER_AT_MOST = 2, 16
# Of the couriers the share for questions.
QUESTIONS_SHARE = 4
CODES = (Code.ERP_TRUST_UNUSABLE, *dict.fromkeys(Code(code) for _, code in SIGNS.values() if code))
SUMMARIES = {
    OutcomeKind.UNREACHABLE: "no answer from {url}: {detail}",
    OutcomeKind.NOT_CONTRACT: "{url} is not the contract's ERP: {method} was answered with {detail}",
    OutcomeKind.CREDENTIALS: "{url} refuses our credentials: {detail}",
    OutcomeKind.ERROR: "{url} answers {method} with {detail}",
}
OTHER_SUMMARY = "{url} answers {method} in a way that can't be taken: {detail}"


@dataclass(frozen=True, slots=True)
class _Pulse:
    """Time to look whether the breaker is due for a probe."""


class ErpGateway(Actor):
    """Keeps the couriers busy with what is claimed; tells the circuit breaker and the db_writer what came of it."""

    def __init__(self, context: ActorContext) -> None:
        super().__init__()
        self._context = context
        self._couriers: dict[str, SendRequest | Ping | None] = {}
        self._offers: deque[tuple[Delivery, float]] = deque()
        self._questions: deque[tuple[Delivery, float]] = deque()
        self._asked: Timer | None = None
        self._asked_at_seconds = 0.0
        self._nothing_more = False
        self._more_questions = True
        self._several_open = True
        self._mean_seconds = 1.0
        self._draining = False
        self._last_success_at: float | None = None
        self._last_tried_at: float | None = None
        self._breaker = CircuitBreaker(self._breaker_policy(), context.clock.monotonic, context.randomness)

    def on_start(self) -> None:
        failpoint("erp_gateway.start")
        self._conditions = ConditionReporter(self.tell, CODES)
        self.every(PENDING_LOOK_SECONDS, Poll())
        self.every(BREAKER_LOOK_SECONDS, _Pulse())
        self._claim()

    def on_receive(self, message: object) -> object:
        failpoint("erp_gateway.receive", message)
        match message:
            case ExchangeFinished():
                self._finish_exchange(message)
            case ClaimedDeliveries(asked_at_seconds=at) if at not in (0.0, self._asked_at_seconds):
                logger.info("a claim came too late: what it has is claimed again")
            case ClaimedDeliveries():
                self._take(message)
            case Poll(restored=restored):
                if restored:
                    self._offers.clear()
                    self._questions.clear()
                self._nothing_more = False
                self._more_questions = True
                self._claim()
            case CourierReady(courier=courier):
                self._courier_ready(courier)
            case _Pulse():
                self._ping_meanwhile()
            case Overdue():
                self._asked = None
                self._claim()
            case InvoiceHeld(invoice_id=invoice_id):
                self._conditions.clear_all(invoice_id)  # its alarm follows from the database now
            case Drain():
                self._draining = True
                self._give_back()
            case GetErpStatus():
                return self._status()
            case _:
                logger.warning("erp_gateway was told what it does not know: %r", message)
        self._send()
        return None

    # Work comes in

    def _claim(self) -> None:
        """Asks for what the couriers can start within its lease; for a probe only while the breaker is open."""
        if self._asked is not None or self._draining or not self._couriers:
            return
        probe = self._breaker.probe_due()
        if not probe and not self._breaker.allows_requests():
            return
        if self._breaker.open_reason == "local":
            self._probe(None, 0.0)  # whether anything leaves this machine shows without an invoice
            return
        offers = 0 if probe else max(0, self._offers_ahead() - len(self._offers))
        # An invoice comes to be asked after by time alone: between two polls there is rarely one.
        ask = self._more_questions and not probe
        questions = max(0, self._couriers_for_questions() * 2 - len(self._questions)) if ask else 0
        if probe or offers or questions:
            self._asked = self.after(ANSWER_OVERDUE_SECONDS, Overdue())
            self._asked_at_seconds = at = self._context.clock.boottime()
            if probe:
                self.after(UNANSWERED_SECONDS, _Pulse())
            never = self._breaker.last_failed
            logger.debug("asks for %s offers and %s questions", offers, questions)
            self.tell(DB_WRITER, ClaimDeliveries(self._in_hand(), offers, questions, at, probe, never))

    def _offers_ahead(self) -> int:
        """How many offers may be claimed ahead: what the couriers can start in what is left of a lease."""
        couriers = min(len(self._couriers), self._context.settings.erp.max_in_flight)
        each_seconds = max(self._mean_seconds, 0.001)
        each = min(max(AHEAD_SECONDS / each_seconds, AHEAD_PER_COURIER_AT_LEAST), AHEAD_PER_COURIER_AT_MOST)
        return max(1, int(couriers * min(each, self._leave_by(0.0) / each_seconds)))

    def _leave_by(self, asked_at_seconds: float) -> float:
        settings = self._context.settings
        return leave_by_seconds(asked_at_seconds, settings.work.lease_seconds, settings.erp.total_timeout_seconds)

    def _in_hand(self) -> frozenset[str]:
        in_flight = (job.delivery.invoice_id for job in self._couriers.values() if isinstance(job, SendRequest))
        queued = (delivery.invoice_id for queue in (self._offers, self._questions) for delivery, _ in queue)
        return frozenset((*in_flight, *queued))

    def _take(self, message: ClaimedDeliveries) -> None:
        if self._asked is not None:
            self._asked.cancel()
            self._asked = None
        self._context.traces.claimed(message.deliveries, message.asked_at_seconds)
        self._several_open = message.several_open
        self._nothing_more = not message.deliveries
        leave_by = self._leave_by(message.asked_at_seconds)
        if message.probe:
            self._probe(message.deliveries[0] if message.deliveries else None, leave_by)
            return
        self._more_questions = any(each.state == State.INITIATED for each in message.deliveries)
        for each in message.deliveries:
            (self._questions if each.state == State.INITIATED else self._offers).append((each, leave_by))
        if self._draining or not self._breaker.allows_requests():
            self._give_back()

    def _probe(self, delivery: Delivery | None, leave_by: float) -> None:
        """One invoice, or a mere ping where none is open, tries the ERP while the breaker is open."""
        courier = next((name for name, job in self._couriers.items() if job is None), None)
        if courier is None or not self._breaker.probe_due() or self._draining:
            if delivery is not None:
                self._return(delivery, "the gateway has no use for it now")
            return
        self._breaker.begin_probe()
        epoch = self._breaker.epoch
        self._hand(courier, Ping(epoch) if delivery is None else SendRequest(delivery, leave_by, epoch))

    def _ping_meanwhile(self) -> None:
        """Tries an ERP that has failed though the database gives no invoice for it: its alarm is to say how it is."""
        asked_seconds_ago = self._context.clock.boottime() - self._asked_at_seconds
        if self._asked is None or asked_seconds_ago < UNANSWERED_SECONDS or self._draining:
            return
        if any(self._couriers.values()) or not self._couriers:
            return
        if self._breaker.probe_due():
            self._breaker.begin_probe()
        elif not self._breaker.allows_requests() or not self._conditions.reported(Code.ERP_UNREACHABLE):
            return
        self._hand(next(iter(self._couriers)), Ping(self._breaker.epoch))

    # Work goes out

    def _send(self) -> None:
        """Every free courier gets what is next; what ran out of its lease, or may not leave now, is given back."""
        if not self._breaker.allows_requests() or self._draining:
            self._give_back()
            if self._breaker.probe_due():
                self._claim()
            return
        most = self._context.settings.erp.max_in_flight
        busy = sum(job is not None for job in self._couriers.values())
        for courier, job in list(self._couriers.items()):
            if job is not None or busy >= most:
                continue
            following = self._next()
            if following is None:
                break
            busy += 1
            logger.debug("%s sends %s", courier, following[0].invoice_id)
            self._hand(courier, SendRequest(*following, self._breaker.epoch))
        if not self._nothing_more and len(self._offers) < self._offers_ahead() // 2:
            self._claim()

    def _next(self) -> tuple[Delivery, float] | None:
        now = self._context.clock.boottime()
        jobs = self._couriers.values()
        asking = sum(isinstance(job, SendRequest) and job.delivery.state == State.INITIATED for job in jobs)
        while self._offers or self._questions:
            ask = bool(self._questions) and (not self._offers or asking < self._couriers_for_questions())
            delivery, leave_by = (self._questions if ask else self._offers).popleft()
            if now <= leave_by:
                return delivery, leave_by
            self._return(delivery, "too little of its lease is left")
        return None

    def _couriers_for_questions(self) -> int:
        """Asking after initiated invoices uses at most a quarter of the couriers while there is something to offer."""
        return max(1, min(len(self._couriers), self._context.settings.erp.max_in_flight) // QUESTIONS_SHARE)

    def _hand(self, courier: str, job: SendRequest | Ping) -> None:
        try:
            self.tell(courier, job)
        except SupervisionError as error:
            logger.info("%s was not told: %s", courier, error)
            if isinstance(job, SendRequest):
                self._return(job.delivery, "its courier is not there")
            self._breaker.record_neutral(job.breaker_epoch)
            return
        self._couriers[courier] = job

    def _give_back(self) -> None:
        for queue in (self._offers, self._questions):
            while queue:
                delivery, _ = queue.popleft()
                self._return(delivery, "nothing leaves for the ERP now")

    def _return(self, delivery: Delivery, why: str) -> None:
        self.tell(DB_WRITER, WriteOutcome(delivery, not_sent("PUT" if delivery.action == "offer" else "GET", why)))

    def _courier_ready(self, courier: str) -> None:
        """A new courier: what its predecessor had in hand has been counted against it, and is claimed anew."""
        lost = self._couriers.get(courier)
        self._couriers[courier] = None
        if lost is not None:
            self._breaker.record_neutral(lost.breaker_epoch)
        if len(self._couriers) == 1:
            self._claim()

    # Answers

    def _finish_exchange(self, message: ExchangeFinished) -> None:
        if self._couriers.get(message.courier) is not None:
            self._couriers[message.courier] = None
        outcome, delivery = message.outcome, message.delivery
        self._context.metrics.answered(outcome)
        self._last_tried_at = self._context.clock.monotonic()
        if outcome.kind is not OutcomeKind.NOT_SENT:
            self._mean_seconds += 0.1 * (outcome.duration_seconds - self._mean_seconds)
        if delivery is not None:
            logger.debug("%s: %s", delivery.invoice_id, outcome.kind)
            self.tell(DB_WRITER, WriteOutcome(delivery, outcome))
        if outcome.pauses_gateway and outcome.retry_after_seconds is not None:
            self._breaker.pause(outcome.retry_after_seconds)
        self._breaker.configure(self._breaker_policy())
        if outcome.local_fault is not None:
            self._report_local_fault(outcome, message.breaker_epoch)
        else:
            self._record(outcome, message.breaker_epoch, delivery.invoice_id if delivery else None)

    def _record(self, outcome: Outcome, epoch: int, invoice_id: str | None) -> None:
        """Tells the breaker and the alarms what the answer says of the ERP as a whole."""
        if outcome.kind is not OutcomeKind.NOT_SENT:
            self._conditions.clear(Code.ERP_TRUST_UNUSABLE)
            if self._breaker.record_sent(epoch):
                logger.info("requests leave this machine again")
        if outcome.status is not None:
            self._conditions.clear(Code.ERP_UNREACHABLE)  # whatever it says, it answers: an old alarm must not hide why
        health, code = SIGNS[outcome.kind]
        match health:
            case ErpHealth.WORKS:
                self._last_success_at = self._context.clock.monotonic()
                # A 404 to a question may be the same wrong ERP that answers offers with 404.
                whole = outcome.kind is not OutcomeKind.ABSENT
                if whole and invoice_id is not None:
                    self._conditions.clear_all(invoice_id)
                if self._breaker.record_success(epoch):
                    self._report_return(whole=whole)
                if whole:
                    self._conditions.clear_unnamed(invoice_id or self.name)
                if whole and outcome.method == "PUT":
                    self._conditions.clear(Code.ERP_REFUSED_INVOICE)  # not all that is offered is refused
            case ErpHealth.FAILS:
                if self._breaker.record_failure(epoch, invoice_id, several_open=self._several_open):
                    logger.warning("the ERP fails (%s): only probes are sent", outcome.detail)
                if (seconds := self._breaker.next_try_seconds()) is not None:
                    self.after(seconds, _Pulse())
            case ErpHealth.REFUSES_CREDENTIALS:
                if self._breaker.record_refused_credentials(epoch, invoice_id):
                    logger.warning("the ERP refuses our credentials (%s): only probes are sent", outcome.detail)
            case ErpHealth.UNKNOWN:
                self._breaker.record_neutral(epoch)
        if code is not None:
            url = self._context.settings.erp.base_url
            summary = SUMMARIES.get(outcome.kind, OTHER_SUMMARY)
            self._conditions.raise_condition(
                Code(code), summary.format(url=url, method=outcome.method, detail=outcome.detail), invoice_id,
                context={"url": url, "status": outcome.status, "invoice": invoice_id},
            )  # fmt: skip

    def _report_local_fault(self, outcome: Outcome, epoch: int) -> None:
        """Nothing left this machine: it counts against no invoice and says nothing of the ERP."""
        if self._breaker.record_local_fault(epoch):
            logger.warning("no request leaves this machine (%s): only probes are tried", outcome.detail)
        code = Code.ERP_TRUST_UNUSABLE if outcome.local_fault == "trust" else Code.ERP_UNREACHABLE
        self._conditions.raise_condition(code, f"no request can leave this machine: {outcome.detail}")

    def _report_return(self, *, whole: bool) -> None:
        """The whole ERP was away: now that it is back, no invoice waits on for a time that was set by it."""
        logger.info("the ERP is back: everything is sent again")
        for code in (Code.ERP_UNREACHABLE, Code.ERP_CREDENTIALS, *((Code.ERP_ERROR,) if whole else ())):
            self._conditions.clear_common(code)
        self.tell(DB_WRITER, ResetBackoffs())

    # What is in force

    def _breaker_policy(self) -> BreakerPolicy:
        erp, alarms = self._context.settings.erp, self._context.settings.alarms
        return BreakerPolicy(
            erp.breaker.failure_threshold, erp.breaker.reset_seconds, erp.breaker.success_threshold,
            erp.retry.base_seconds, erp.retry.max_seconds, alarms.raise_within_seconds,
        )  # fmt: skip

    def _status(self) -> ErpStatus:
        now = self._context.clock.monotonic()
        success, tried = (None if at is None else now - at for at in (self._last_success_at, self._last_tried_at))
        in_flight = sum(job is not None for job in self._couriers.values())
        queued = len(self._offers) + len(self._questions)
        breaker = self._breaker
        return ErpStatus(
            breaker.state, breaker.open_reason, in_flight, queued, success, tried, breaker.next_try_seconds()
        )
