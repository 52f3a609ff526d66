"""The actor that decides what is asked of the ERP, by which lane and when; it does no I/O itself."""

import logging
from collections import deque
from dataclasses import dataclass
from typing import Any

from actors.attribution import tell_of_exception
from actors.condition_reporter import ConditionReporter
from actors.courier import leave_by_seconds
from actors.failpoints import failpoint
from actors.gate import Gate, GatePolicy
from actors.messages import (
    DB_WRITER,
    Answered,
    ClaimDeliveries,
    Contradicted,
    CountCrash,
    Deliver,
    Deliveries,
    Drain,
    ErpStanding,
    ForgetWaits,
    Held,
    Knock,
    LaneFree,
    Look,
    Record,
    Standing,
)
from actors.parts import Parts
from actors.reactions import ALARM_OF, SAYS, Policy, Says, react
from alarming.catalogue import Code
from altibiz.outcomes import Kind, Outcome, not_sent
from config.settings import Settings
from persistence.claims import Delivery
from supervision import Actor, Timer
from supervision.errors import SupervisionError

logger = logging.getLogger(__name__)

PENDING_LOOK_SECONDS = 2.0
GATE_LOOK_SECONDS = 0.5
ANSWER_OVERDUE_SECONDS = 30.0
# How much is claimed ahead: for so long, so that another daemon finds work too, and within these numbers for each lane.
AHEAD_SECONDS = 1.0
AHEAD_PER_LANE_AT_LEAST, AHEAD_PER_LANE_AT_MOST = 2, 16
# Of the lanes the share of questions.
QUESTIONS_SHARE = 4
CODES = (Code.ERP_TRUST_UNUSABLE, *dict.fromkeys(Code(code) for code in ALARM_OF.values()))


@dataclass(frozen=True, slots=True)
class _Overdue:
    """The answer to what was asked of the db_writer is late: it was lost, or the database is away."""


@dataclass(frozen=True, slots=True)
class _Glance:
    """Time to look at the gate."""


class ErpGateway(Actor):
    """Keeps the lanes fed with what is claimed, tells the gate and the db_writer what came of it."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self._parts = parts
        self._lanes: dict[str, Deliver | Knock | None] = {}
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
        self._gate = Gate(self._gate_policy(), parts.clock.monotonic, parts.randomness)

    def on_start(self) -> None:
        failpoint("erp_gateway.start")
        self._conditions = ConditionReporter(self.tell, CODES)
        self.every(PENDING_LOOK_SECONDS, Look())
        self.every(GATE_LOOK_SECONDS, _Glance())
        self._look()

    def on_receive(self, message: object) -> object:
        failpoint("erp_gateway.receive", message)
        match message:
            case Answered():
                self._answered(message)
            case Deliveries(asked_at_seconds=at) if at not in (0.0, self._asked_at_seconds):
                logger.info("a claim came too late: what it has is claimed again")
            case Deliveries():
                self._claimed(message)
            case Look(restored=restored):
                if restored:
                    self._offers.clear()
                    self._questions.clear()
                self._nothing_more = False
                self._more_questions = True
                self._look()
            case LaneFree(lane=lane):
                self._lane_starts(lane)
            case _Glance():
                pass  # the gate may want a probe by now
            case _Overdue():
                self._asked = None
            case Held(invoice_id=invoice_id):
                self._conditions.clear_all(invoice_id)  # its alarm follows from the database now
            case Contradicted(invoice_id=invoice_id, reason=reason):
                self._conditions.raise_condition(Code.ERP_INCORRECT_DATA, reason, invoice_id)
            case Drain():
                self._draining = True
                self._give_back()
            case Standing():
                return self._standing()
            case _:
                logger.warning("erp_gateway was told what it does not know: %r", message)
        self._feed()
        return None

    # Work comes in

    def _look(self) -> None:
        """Asks for what the lanes can start before its lease runs out; for a probe only while the gate is shut."""
        if self._asked is not None or self._draining or not self._lanes:
            return
        probe = self._gate.wants_probe()
        if not probe and not self._gate.lets_through():
            return
        if self._gate.shut == "local":
            self._probe(None, 0.0)  # whether anything leaves this machine shows without an invoice
            return
        settings = self._parts.settings
        limit = self._limit(settings)
        offers = 0 if probe else max(0, limit - len(self._offers))
        # An invoice comes to be asked after by time alone: between two looks there is rarely one.
        ask = self._more_questions and not probe
        questions = max(0, self._question_lanes() * 2 - len(self._questions)) if ask else 0
        if probe or offers or questions:
            self._asked = self.after(ANSWER_OVERDUE_SECONDS, _Overdue())
            self._asked_at_seconds = at = self._parts.clock.boottime()
            self.tell(DB_WRITER, ClaimDeliveries(self._holding(), offers, questions, at, probe, self._gate.failed_last))

    def _limit(self, settings: Settings) -> int:
        """How many offers may be claimed ahead: what the lanes can start in what is left of a lease."""
        lanes = min(len(self._lanes), settings.erp.max_in_flight)
        margin = leave_by_seconds(0.0, settings.work.lease_seconds, settings.erp.total_timeout_seconds)
        each_seconds = max(self._mean_seconds, 0.001)
        wanted = lanes * min(max(AHEAD_SECONDS / each_seconds, AHEAD_PER_LANE_AT_LEAST), AHEAD_PER_LANE_AT_MOST)
        return max(1, int(min(wanted, lanes * margin / each_seconds)))

    def _holding(self) -> frozenset[str]:
        in_flight = (job.delivery.invoice_id for job in self._lanes.values() if isinstance(job, Deliver))
        queued = (delivery.invoice_id for queue in (self._offers, self._questions) for delivery, _ in queue)
        return frozenset((*in_flight, *queued))

    def _claimed(self, message: Deliveries) -> None:
        if self._asked is not None:
            self._asked.cancel()
            self._asked = None
        self._several_open = message.several_open
        self._nothing_more = not message.deliveries
        settings = self._parts.settings
        leave_by = leave_by_seconds(
            message.asked_at_seconds, settings.work.lease_seconds, settings.erp.total_timeout_seconds
        )
        if message.probe:
            self._probe(message.deliveries[0] if message.deliveries else None, leave_by)
            return
        self._more_questions = any(each.state == "initiated" for each in message.deliveries)
        for delivery in message.deliveries:
            (self._questions if delivery.state == "initiated" else self._offers).append((delivery, leave_by))
        if self._draining or not self._gate.lets_through():
            self._give_back()

    def _probe(self, delivery: Delivery | None, leave_by: float) -> None:
        """One invoice, or a mere knock where none is open, tries the ERP while the gate is shut."""
        lane = next((name for name, job in self._lanes.items() if job is None), None)
        if lane is None or not self._gate.wants_probe() or self._draining:
            if delivery is not None:
                self._record(delivery, not_sent(_method(delivery), "the gateway has no use for it now"))
            return
        self._gate.probe_begins()
        generation = self._gate.generation
        self._hand(lane, Knock(generation) if delivery is None else Deliver(delivery, leave_by, generation))

    # Work goes out

    def _feed(self) -> None:
        """Every free lane gets what is next; what ran out of its lease, or may not leave now, is given back."""
        if not self._gate.lets_through() or self._draining:
            self._give_back()
            if self._gate.wants_probe():
                self._look()
            return
        most = self._parts.settings.erp.max_in_flight
        busy = sum(job is not None for job in self._lanes.values())
        for lane, job in list(self._lanes.items()):
            if job is not None or busy >= most:
                continue
            following = self._next()
            if following is None:
                break
            busy += 1
            delivery, leave_by = following
            self._hand(lane, Deliver(delivery, leave_by, self._gate.generation))
        if not self._nothing_more and len(self._offers) < self._limit(self._parts.settings) // 2:
            self._look()

    def _next(self) -> tuple[Delivery, float] | None:
        now = self._parts.clock.boottime()
        asking = sum(isinstance(job, Deliver) and job.delivery.state == "initiated" for job in self._lanes.values())
        while self._offers or self._questions:
            ask = bool(self._questions) and (not self._offers or asking < self._question_lanes())
            delivery, leave_by = (self._questions if ask else self._offers).popleft()
            if now <= leave_by:
                return delivery, leave_by
            self._record(delivery, not_sent(_method(delivery), "too little of its lease is left"))
        return None

    def _question_lanes(self) -> int:
        """Asking after initiated invoices uses at most a quarter of the lanes while there is something to offer."""
        return max(1, min(len(self._lanes), self._parts.settings.erp.max_in_flight) // QUESTIONS_SHARE)

    def _hand(self, lane: str, job: Deliver | Knock) -> None:
        try:
            self.tell(lane, job)
        except SupervisionError as error:
            logger.info("%s was not told: %s", lane, error)
            if isinstance(job, Deliver):
                self._record(job.delivery, not_sent(_method(job.delivery), "its courier is not there"))
            self._gate.said_nothing(job.generation)
            return
        self._lanes[lane] = job

    def _give_back(self) -> None:
        for queue in (self._offers, self._questions):
            while queue:
                delivery, _ = queue.popleft()
                self._record(delivery, not_sent(_method(delivery), "nothing leaves for the ERP now"))

    def _lane_starts(self, lane: str) -> None:
        """A new courier: what its predecessor had in hand has been counted against it, and is claimed anew."""
        lost = self._lanes.get(lane)
        self._lanes[lane] = None
        if lost is not None:
            self._gate.said_nothing(lost.generation)
        if len(self._lanes) == 1:
            self._look()

    # Answers

    def _answered(self, message: Answered) -> None:
        if self._lanes.get(message.lane) is not None:
            self._lanes[message.lane] = None
        outcome, delivery = message.outcome, message.delivery
        self._parts.meters.answered(outcome)
        if outcome.kind is not Kind.NOT_SENT:
            self._mean_seconds += 0.1 * (outcome.duration_seconds - self._mean_seconds)
        if delivery is not None:
            self._record(delivery, outcome)
            # What the ERP does not have can be offered again at once.
            self._nothing_more = self._nothing_more and outcome.kind is not Kind.ABSENT
        self._tell_gate(message)

    def _record(self, delivery: Delivery, outcome: Outcome) -> None:
        """Has stored what the outcome makes of the invoice; if that raises, it counts against this one alone."""
        try:
            write: Record | CountCrash = Record(react(delivery, outcome, self._policy()))
        except Exception as error:  # noqa: BLE001 - one invoice's answer must not end who hands out the others
            ids = (delivery.invoice_id,)
            tell_of_exception(self, error, ids, self._parts.settings.supervision.window_seconds)
            write = CountCrash(ids, self.name, "crashed", f"{type(error).__name__}: {error}"[:300])
        self.tell(DB_WRITER, write)

    def _tell_gate(self, message: Answered) -> None:
        outcome, generation = message.outcome, message.generation
        invoice_id = message.delivery.invoice_id if message.delivery else None
        if outcome.pauses_gateway and outcome.retry_after_seconds is not None:
            self._gate.pause(outcome.retry_after_seconds)
        self._gate.configure(self._gate_policy())
        if outcome.local_fault is not None:
            self._tell_of_local_fault(outcome, generation)
            return
        if outcome.kind is not Kind.NOT_SENT:
            self._conditions.clear(Code.ERP_TRUST_UNUSABLE)
            if self._gate.left(generation):
                logger.info("requests leave this machine again")
        if outcome.status is not None:
            self._conditions.clear(Code.ERP_UNREACHABLE)  # whatever it says, it answers: an old alarm must not hide why
        match SAYS[outcome.kind]:
            case Says.WORKS:
                self._last_success_at = self._parts.clock.monotonic()
                # A 404 to a question may be the same wrong ERP that answers offers with 404.
                whole = outcome.kind is not Kind.ABSENT
                if whole and invoice_id is not None:
                    self._conditions.clear_all(invoice_id)
                if self._gate.succeeded(generation):
                    self._tell_of_return(whole=whole)
            case Says.FAILS:
                if self._gate.failed(generation, invoice_id, several_open=self._several_open):
                    logger.warning("the ERP fails (%s): only probes are sent", outcome.detail)
            case Says.REFUSES_CREDENTIALS:
                if self._gate.refused_credentials(generation, invoice_id):
                    logger.warning("the ERP refuses our credentials (%s): only probes are sent", outcome.detail)
            case Says.NOTHING:
                self._gate.said_nothing(generation)
        code = ALARM_OF.get(outcome.kind)
        if code is not None:
            self._conditions.raise_condition(
                Code(code), self._summary(outcome), invoice_id,
                context={"url": self._parts.settings.erp.base_url, "status": outcome.status, "invoice": invoice_id},
            )  # fmt: skip

    def _tell_of_local_fault(self, outcome: Outcome, generation: int) -> None:
        """Nothing left this machine: it counts against no invoice and says nothing of the ERP."""
        if self._gate.kept_here(generation):
            logger.warning("no request leaves this machine (%s): only probes are tried", outcome.detail)
        code = Code.ERP_TRUST_UNUSABLE if outcome.local_fault == "trust" else Code.ERP_UNREACHABLE
        self._conditions.raise_condition(code, f"no request can leave this machine: {outcome.detail}")

    def _tell_of_return(self, *, whole: bool) -> None:
        """It was the whole ERP: when it is over, nobody waits on for a time that was set by it."""
        logger.info("the ERP is back: everything is sent again")
        for code in (Code.ERP_UNREACHABLE, Code.ERP_CREDENTIALS, *((Code.ERP_ERROR,) if whole else ())):
            self._conditions.clear_common(code)
        self.tell(DB_WRITER, ForgetWaits())

    def _summary(self, outcome: Outcome) -> str:
        url = self._parts.settings.erp.base_url
        match outcome.kind:
            case Kind.UNREACHABLE:
                return f"no answer from {url}: {outcome.detail}"
            case Kind.NOT_CONTRACT:
                return f"{url} is not the contract's ERP: {outcome.method} was answered with {outcome.detail}"
            case Kind.CREDENTIALS:
                return f"{url} refuses our credentials: {outcome.detail}"
            case Kind.ERROR:
                return f"{url} answers {outcome.method} with {outcome.detail}"
            case _:
                return f"{url} answers {outcome.method} in a way that can't be taken: {outcome.detail}"

    # What is in force

    def _policy(self) -> Policy:
        erp = self._parts.settings.erp
        return Policy(
            erp.poll_interval_seconds, erp.retry.base_seconds, erp.retry.max_seconds, erp.max_incorrect_answers,
            self._parts.randomness.uniform,
        )  # fmt: skip

    def _gate_policy(self) -> GatePolicy:
        erp, alarms = self._parts.settings.erp, self._parts.settings.alarms
        return GatePolicy(
            erp.breaker.failure_threshold, erp.breaker.reset_seconds, erp.breaker.success_threshold,
            erp.retry.base_seconds, erp.retry.max_seconds, alarms.raise_within_seconds,
        )  # fmt: skip

    def _standing(self) -> ErpStanding:
        ago = None if self._last_success_at is None else self._parts.clock.monotonic() - self._last_success_at
        in_flight = sum(job is not None for job in self._lanes.values())
        queued = len(self._offers) + len(self._questions)
        return ErpStanding(self._gate.state, self._gate.shut, in_flight, queued, ago)


def _method(delivery: Delivery) -> Any:
    return "PUT" if delivery.action == "offer" else "GET"
