"""What the db_writer has still to store, and what one transaction stores of it."""

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from sqlalchemy import Connection

from actors.context import ActorContext
from actors.failpoints import failpoint
from actors.messages import BILLER, ERP_GATEWAY, CountCrash, Poll, WriteCalculations, WriteOutcome
from billing.erp_answers import AnswerPolicy, OutcomeKind
from billing.invoice import Invoice
from billing.quarantine import backoff_seconds
from billing.states import FINAL_STATES, State
from persistence.invoices.answers import StoredAnswers, store_answers
from persistence.invoices.calculations import store_calculations
from persistence.invoices.changes import Change, apply_changes, end_stale
from persistence.invoices.claims import forget_waits_for_the_erp
from persistence.invoices.quarantine import count_crash, crashing_without_witness, limit_batch
from persistence.invoices.queries import verdict_of
from persistence.locks import held_by_others, lock_invoices

DEFER_BASE_SECONDS, DEFER_MOST_SECONDS = 0.1, 2.0


@dataclass(frozen=True, slots=True)
class Calculated:
    """A calculated invoice, under the claim that it was calculated with."""

    claim: int
    invoice: Invoice


@dataclass(frozen=True, slots=True)
class Crash:
    """A crash with this invoice in hand: it counts if the invoice was alone (`bisect_limit` None).

    Else the invoice is worked on again in a batch of at most `bisect_limit`, the second half a little later than the
    first. `since_seconds` is the monotonic instant of the first failure.
    """

    reason: str
    since_seconds: float
    bisect_limit: int | None = None
    half: int = 1


@dataclass(frozen=True, slots=True)
class BackoffReset:
    """The ERP is back: this invoice, which was locked then, waits no longer for a time that was set by its failing."""


@dataclass(frozen=True, slots=True)
class StaleCalculation:
    """A calculation that can't be stored as it is: the claim ends, and the invoice is calculated again."""

    claim: int


@dataclass(eq=False, slots=True)
class Item:
    """One write in the queue; `not_before_seconds` is a monotonic instant, `deferrals` how often its row was locked."""

    invoice_id: str
    write: Calculated | Change | WriteOutcome | Crash | BackoffReset | StaleCalculation
    not_before_seconds: float = float("-inf")
    deferrals: int = 0

    @property
    def invoice_ids(self) -> tuple[str, ...]:
        return (self.invoice_id,)

    @property
    def is_calculation(self) -> bool:
        """Whether it rests on data: what was calculated, or what waits for the data that it was calculated from."""
        write = self.write
        return isinstance(write, Calculated) or (isinstance(write, Change) and bool(write.meter_versions))

    def defer(self, now_seconds: float) -> None:
        self.not_before_seconds = now_seconds + backoff_seconds(self.deferrals, DEFER_BASE_SECONDS, DEFER_MOST_SECONDS)
        self.deferrals += 1


def items_of(message: WriteCalculations | WriteOutcome | CountCrash, now_seconds: float) -> list[Item]:
    """What a message asks for, an invoice at a time."""
    match message:
        case WriteCalculations(calculated=calculated, waiting=waiting):
            return [
                *(Item(str(invoice.id), Calculated(claim, invoice)) for claim, invoice in calculated),
                *(Item(change.invoice_id, change) for change in waiting),
            ]
        case WriteOutcome(delivery=delivery):
            return [Item(delivery.invoice_id, message)]
        case CountCrash(invoice_ids=ids):
            reason = f"{message.actor} {message.how}: {message.what}"
            since = now_seconds if message.since_seconds is None else message.since_seconds
            if len(ids) == 1:
                return [Item(ids[0], Crash(reason, since))]
            limit = (len(ids) + 1) // 2
            return [Item(each, Crash(reason, since, limit, 1 + (place >= limit))) for place, each in enumerate(ids)]


class WriteQueue:
    """The writes in the order in which they came; a deferred one lets the others go first."""

    def __init__(self) -> None:
        self._items: list[Item] = []

    def __len__(self) -> int:
        return len(self._items)

    @property
    def invoice_ids(self) -> set[str]:
        return {item.invoice_id for item in self._items}

    def add(self, items: Iterable[Item]) -> None:
        self._items += items

    def ready(self, limit: int, now_seconds: float, *, calculations: bool | None = None) -> list[Item]:
        """The first that are not deferred, of all or of calculations or of all else; they stay in the queue."""
        wanted = (item for item in self._items if calculations in (None, item.is_calculation))
        return list(islice((item for item in wanted if item.not_before_seconds <= now_seconds), limit))

    def remove(self, items: Iterable[Item]) -> None:
        """They are stored, or will never be."""
        gone = set(map(id, items))
        self._items = [item for item in self._items if id(item) not in gone]

    def to_end(self, items: Sequence[Item]) -> None:
        self.remove(items)
        self._items += items

    def next_seconds(self) -> float | None:
        """The monotonic instant at which the first of the deferred is tried again."""
        return min((item.not_before_seconds for item in self._items if item.deferrals), default=None)


@dataclass
class GroupResult:
    """What came of a group: what is deferred since its row is locked, whom to tell what, and what to raise alarms for.

    `held` got there by crashes, `held_by_answers` by the ERP's. `poison` maps an invoice that crashes without a witness
    to the reason, `contradicted` one to what the ERP says.
    """

    deferred: list[Item] = field(default_factory=list)
    nudges: list[tuple[str, object]] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    held_by_answers: list[str] = field(default_factory=list)
    poison: dict[str, str] = field(default_factory=dict)
    contradicted: dict[str, str] = field(default_factory=dict)


class GroupWriter:
    """Stores a group within the caller's transaction. Raises what the database does; then nothing is stored.

    What somebody else has locked is deferred. `since_seconds` is the monotonic instant at which the group was begun.
    """

    def __init__(
        self, context: ActorContext, connection: Connection, write_id: uuid.UUID, since_seconds: float
    ) -> None:
        self._context = context
        self._connection = connection
        self._write_id = write_id
        self._since_seconds = since_seconds
        self._result = GroupResult()

    def write(self, items: Sequence[Item]) -> GroupResult:
        """Stores what is not locked; meters are locked before the first invoice."""
        connection, by, result = self._connection, self._context.claimer, self._result
        self._store_calculations([item for item in items if item.is_calculation])
        ready = self._lock([item for item in items if not item.is_calculation])
        apply_changes(connection, by, self._write_id, [item.write for item in ready if isinstance(item.write, Change)])
        self._store_answers(ready)
        self._count_crashes(ready)
        if resets := [item.invoice_id for item in ready if isinstance(item.write, BackoffReset)]:
            forget_waits_for_the_erp(connection, (), resets)
            result.nudges.append((ERP_GATEWAY, Poll()))
        stale = [(item.invoice_id, item.write.claim) for item in ready if isinstance(item.write, StaleCalculation)]
        if stale:
            end_stale(connection, by, stale)
            result.nudges.append((BILLER, Poll()))
        return result

    def _store_calculations(self, items: Sequence[Item]) -> None:
        made = [item for item in items if isinstance(item.write, Calculated)]
        pairs = [(item.write.claim, item.write.invoice) for item in made if isinstance(item.write, Calculated)]
        waiting = [item.write for item in items if isinstance(item.write, Change)]
        stored = store_calculations(self._connection, self._context.claimer, self._write_id, pairs, waiting)
        self._result.deferred += [item for item in items if item.invoice_id in stored.deferred]
        if any(item.invoice_id in stored.done for item in made):
            failpoint("db_writer.store", *made)
            self._result.nudges.append((ERP_GATEWAY, Poll()))
        if stored.stale:
            self._result.nudges.append((BILLER, Poll()))

    def _lock(self, items: Sequence[Item]) -> list[Item]:
        """Locks the rows of all that is to be written, in the one order, without waiting for anybody."""
        ids = {item.invoice_id for item in items}
        locked = held_by_others(self._connection, "invoices", ids, lock_invoices(self._connection, ids, wait=False))
        self._result.deferred += [item for item in items if item.invoice_id in locked]
        return [item for item in items if item.invoice_id not in locked]

    def _store_answers(self, ready: Sequence[Item]) -> None:
        answers = [(each.write.delivery, each.write.outcome) for each in ready if isinstance(each.write, WriteOutcome)]
        erp = self._context.settings.erp
        policy = AnswerPolicy(
            erp.poll_interval_seconds, erp.retry.base_seconds, erp.retry.max_seconds, erp.max_incorrect_answers,
            self._context.randomness.uniform,
        )  # fmt: skip
        stored = store_answers(self._connection, self._context.claimer, self._write_id, answers, policy)
        if any(outcome.kind is OutcomeKind.ABSENT for _, outcome in answers):  # they can be offered at once
            self._result.nudges.append((ERP_GATEWAY, Poll()))
        if any(change.to_state == State.REGISTERED for change in stored.changes):
            failpoint("db_writer.store_verdict", *ready)
        self._result.held_by_answers += sorted(stored.held)
        self._find_contradictions(stored)

    def _count_crashes(self, ready: Sequence[Item]) -> None:
        settings, by = self._context.settings, self._context.claimer
        retry, most = settings.erp.retry, settings.work.max_attempts
        batches: dict[tuple[int, int], list[str]] = {}
        for item in ready:
            if not isinstance(crash := item.write, Crash):
                continue
            ids = [item.invoice_id]
            if crash.bisect_limit is not None:
                batches.setdefault((crash.bisect_limit, crash.half), []).extend(ids)
                continue
            self._result.held += count_crash(
                self._connection, by, self._write_id, ids, reason=crash.reason, max_attempts=most,
                backoff_base_seconds=retry.base_seconds, backoff_max_seconds=retry.max_seconds,
                failed_seconds_ago=max(0.0, self._since_seconds - crash.since_seconds),
            )  # fmt: skip
            if crashing_without_witness(self._connection, ids, most):
                self._result.poison[item.invoice_id] = crash.reason
        for (limit, half), ids in batches.items():
            delay_seconds = retry.base_seconds * half
            limit_batch(self._connection, by, ids, bisect_limit=limit, delay_seconds=delay_seconds)

    def _find_contradictions(self, stored: StoredAnswers) -> None:
        """A late booking of what is final with us changes nothing; that it differs is an alarm."""
        registered = [change for change in stored.changes if change.to_state == State.REGISTERED]
        times = Counter(change.invoice_id for change in registered)
        for change in registered:
            invoice_id = change.invoice_id
            if invoice_id in stored.done and times[invoice_id] == 1:
                continue
            ours = verdict_of(self._connection, invoice_id)
            if ours and ours.state in FINAL_STATES and ours.bill_id != change.bill_id:
                self._result.contradicted[invoice_id] = (
                    f"the ERP books {invoice_id} as {change.bill_id}, here it is {ours.bill_id or ours.state}"
                )
