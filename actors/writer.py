"""The actor that alone changes invoices in the daemon: what waits goes into one transaction, claims included.

An outage never crashes it. What it could not store stays with it and is tried again; if it is lost all the same
(a crash, a kill), the database still knows whose claim it was, and the next look takes it up.

It never waits for a row: what somebody else has locked is deferred, and the others go on. A row that the database
refuses is found by bisection and counted; one that refuses the count too is left out for a while. One message has one
deadline for all its work with the database, below the hang deadline; what is left then is done with the next.
"""

import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from actors.attribution import tell_of_exception
from actors.claimer import InvoiceClaimer
from actors.condition_reporter import DATABASE_CODES, ConditionReporter, DatabaseBackoff, report_database_error
from actors.context import ActorContext
from actors.deadline_transactions import LOCK_NOT_AVAILABLE, TIMED_OUT, DeadlineTransactions
from actors.failpoints import failpoint
from actors.instance_registration import InstanceRegistration
from actors.messages import (
    BILLER,
    ERP_GATEWAY,
    IMPORTER,
    ClaimDeliveries,
    ClaimDue,
    ClaimedDeliveries,
    ClaimedDue,
    CountCrash,
    CountPendingWrites,
    InvoiceHeld,
    MakeDue,
    Poll,
    ResetBackoffs,
    WriteCalculations,
    WriteOutcome,
    try_tell,
)
from actors.refused_rows import RefusedRows
from actors.scheduling import InvoiceScheduler
from actors.write_group import (
    BackoffReset,
    Calculated,
    Crash,
    GroupResult,
    GroupWriter,
    Item,
    StaleCalculation,
    WriteQueue,
    items_of,
)
from alarming.catalogue import Code
from billing.erp_answers import OutcomeKind
from persistence.connection.bisection import Failed, bisect
from persistence.connection.errors import CommitUnknown, DatabaseFailed, PersistenceError, RowHeldUp, RowRefused
from persistence.invoices import recalculation
from persistence.invoices.transitions import was_written
from supervision import Actor, Timer

logger = logging.getLogger(__name__)

TICK_SECONDS = 2.0
GROUP_AT_MOST = 1000
# So few that the couriers don't run out of offers meanwhile.
CALCULATIONS_AT_MOST = 250
# Answers that come within so long are stored together: a transaction costs more than what it stores of one.
GATHER_SECONDS = 0.05
SHRINK = 8
BILL_ID_TAKEN, BILLED_TWICE = "invoices_bill_id_key", "billed_spans_once"


@dataclass(frozen=True, slots=True)
class _Retry:
    """Time to try the database again."""


@dataclass(frozen=True, slots=True)
class _Continue:
    """Time for what was deferred, or for what a message left undone at its deadline."""


class DbWriter(Actor):
    """Groups writes, then claims; tells the actor that has asked."""

    def __init__(self, context: ActorContext) -> None:
        super().__init__()
        self._context = context
        self._database = context.connect("db_writer", listen=context.settings.database.listen == "auto")
        self._queue = WriteQueue()
        self._group_at_most = GROUP_AT_MOST
        codes = (*DATABASE_CODES, Code.INSTANCE_NAME_TAKEN, Code.DAEMON_WAS_DOWN, Code.POISON_INVOICE)
        self._conditions = ConditionReporter(self.tell, (*codes, Code.ERP_INCORRECT_DATA))
        self._transactions = DeadlineTransactions(context, self._database)
        self._refused_rows = RefusedRows(context, self._transactions, self._conditions)
        self._scheduler = InvoiceScheduler(context, self._transactions, self._refused_rows)
        self._claimer = InvoiceClaimer(
            context, self._transactions, self._refused_rows, reply=self._nudge, count=self._count_refusal
        )
        self._registration = InstanceRegistration(context, self._conditions)
        self._make_due_asked = self._reset_asked = False
        self._unsure: tuple[uuid.UUID, Sequence[Item]] | None = None
        self._backoff = DatabaseBackoff()
        self._resting = False
        self._failure_told = False
        self._continuing: Timer | None = None
        self._one_at_a_time_until = self._gather_until = float("-inf")

    def on_start(self) -> None:
        failpoint("db_writer.start")
        if self.epoch > 1:
            self._take_over()
        self.on_unblock(self._database.unblock)
        self.every(TICK_SECONDS, Poll())
        self._work(tick=True)

    def on_receive(self, message: object) -> object:
        if isinstance(message, CountPendingWrites):
            return len(self._queue)
        failpoint("db_writer.receive", message)
        now = self._context.clock.monotonic()
        grouped = now >= self._one_at_a_time_until
        messages = [message, *(self.take_waiting(GROUP_AT_MOST) if grouped else ())]
        if grouped and all(isinstance(each, WriteOutcome) for each in messages):
            self._context.clock.wait(threading.Event(), max(0.0, self._gather_until - now))
            messages += self.take_waiting(GROUP_AT_MOST)
        for each in messages:
            match each:
                case Poll():
                    pass
                case _Retry():
                    self._resting = False
                case _Continue():
                    self._continuing = None
                case ClaimDue() | ClaimDeliveries():
                    self._claimer.request(each)
                case WriteCalculations() | WriteOutcome() | CountCrash():
                    self._queue.add(items_of(each, now))
                case ResetBackoffs():
                    self._reset_asked = True
                case MakeDue():
                    self._make_due_asked = True
                case _:
                    logger.warning("db_writer was told what it does not know: %r", each)
        tick = Poll() in messages
        self._note_lag()
        if not self._resting:
            self._work(tick=tick)
            self._note_lag()
            self._gather_until = self._context.clock.monotonic() + GATHER_SECONDS
        elif tick:
            self._show_life_meanwhile()
        return None

    def _take_over(self) -> None:
        """After a crash what crashes is to be alone in hand; and whoever waits for a claim may ask for it again."""
        window_seconds = self._context.settings.supervision.window_seconds
        self._one_at_a_time_until = self._context.clock.monotonic() + window_seconds
        for name, nothing in ((BILLER, ClaimedDue(())), (ERP_GATEWAY, ClaimedDeliveries((), 0.0, several_open=True))):
            self._nudge(name, nothing)
            self._nudge(name, Poll())

    def _note_lag(self) -> None:
        self._context.metrics.writer_waits(bool(self._queue), self._context.clock.monotonic())

    def on_stop(self) -> None:
        try:
            # After a crash it neither deregisters nor tries again what was in hand: the claims tell the next one.
            if self.stopping and not self._resting:
                self._work(tick=False)
                self._guarded(self._registration.deregister)
        finally:
            self._database.close()

    # One message's work

    def _work(self, *, tick: bool) -> None:
        self._begin()
        if self._guarded(lambda: self._all_of_it(tick=tick)):
            self._backoff.reset()
            self._continue_later()

    def _begin(self) -> None:
        self._transactions.begin()
        self._failure_told = False

    def _guarded(self, work: Callable[[], object]) -> bool:
        try:
            work()
        except PersistenceError as error:
            report_database_error(self._conditions, error, self.name)
            self._registration.doubt()
            self._resting = True
            self.after(self._backoff.next_seconds(), _Retry())
            return False
        return True

    def _all_of_it(self, *, tick: bool) -> None:
        if tick or self._registration.must_show:
            self._show_life()
        if not self._registration.may_work():
            return
        self._resolve_commit()
        self._write_all(calculations=False)
        if not self._transactions.has_time():
            return  # the next message comes at once
        if tick:
            self._look_around()
        self._schedule()
        self._claimer.answer_all(self._queue.invoice_ids)
        self._write_all(calculations=True)  # last, as it takes longest: biller and couriers have work meanwhile
        # Others have changed data: what rests on the data of before is calculated again.
        if tick:
            recalculated = self._transactions.run_unless_refused(recalculation.take_up)
            if recalculated:
                self._nudge(BILLER, Poll())
        self._conditions.clear_all(self.name)

    def _schedule(self) -> None:
        if self._reset_asked:
            self._queue.add(Item(each, BackoffReset()) for each in self._scheduler.reset_backoffs())
            self._reset_asked = False
            self._nudge(ERP_GATEWAY, Poll())
        if self._make_due_asked:
            if self._scheduler.make_due():
                self._nudge(BILLER, Poll())
            self._make_due_asked = self._scheduler.unfinished

    def _show_life(self) -> None:
        # Not run again after a deadlock: what it has found in the database it keeps.
        with self._database.transaction(self._transactions.seconds_left()) as connection:
            self._registration.show(connection)
            changed = self._transactions.record_server(connection)
            self._context.seen_server.note_position(connection)
        self._transactions.recorded_server(changed=changed)
        self._registration.report()
        for invoice_id, reason in self._registration.take_stuck().items():
            self._refused_rows.add(invoice_id, f"its claim can't be freed: {reason}")
        nudged = self._database.nudged()
        restored = self._registration.take_restored() | self._transactions.take_server_changed()
        if restored or nudged or self._registration.take_agreement():
            self._nudge(BILLER, Poll(newly_due=True))
            self._nudge(ERP_GATEWAY, Poll(restored=restored))
        if restored:
            self._nudge(IMPORTER, Poll(restored=True))

    def _show_life_meanwhile(self) -> None:
        """A sign of life is no use to wait for: what holds up the invoices need not hold up this."""
        self._begin()
        try:
            self._show_life()
        except PersistenceError as error:
            self._registration.doubt()
            logger.debug("no sign of life: %s", error)

    def _continue_later(self) -> None:
        now = self._context.clock.monotonic()
        undone = self._queue.ready(1, now) or not self._transactions.has_time()
        later = now if undone else self._queue.next_seconds()
        if later is not None and self._continuing is None and not self.stopping:
            self._continuing = self.after(max(0.0, later - now), _Continue())

    def _resolve_commit(self) -> None:
        """A COMMIT whose answer was lost may have happened: its id in the history says so."""
        if self._unsure is None:
            return
        write_id, items = self._unsure
        happened = self._transactions.run(lambda connection: was_written(connection, write_id))
        self._unsure = None
        if happened:
            self._queue.remove(items)
            self._nudge(ERP_GATEWAY, Poll())

    # Writing

    def _write_all(self, *, calculations: bool) -> None:
        # Whatever there is to write, some time is left for what has been asked for.
        while self._transactions.has_time(0.5):
            began = self._context.clock.monotonic()
            most = min(self._group_at_most, CALCULATIONS_AT_MOST) if calculations else self._group_at_most
            items = self._queue.ready(most, began, calculations=calculations)
            if not items:
                return
            for part, outcome in bisect(items, self._store, self._transactions.has_time):
                if isinstance(outcome, Failed):
                    self._refuse_write(part[0], outcome.error, began)
                else:
                    self._stored(part, outcome)
            if calculations and not self.stopping:
                return  # claims that are asked for come before the next of them

    def _store(self, items: Sequence[Item]) -> GroupResult:
        write_id, began = uuid.uuid4(), self._context.clock.monotonic()
        whole_time = self._transactions.has_time(0.5)
        try:
            result = self._transactions.run(
                lambda connection: GroupWriter(self._context, connection, write_id, began).write(items)
            )
        except CommitUnknown:
            self._unsure = (write_id, items)
            raise
        except PersistenceError as error:
            if isinstance(error, DatabaseFailed) and error.sqlstate == TIMED_OUT:
                self._took_too_long(items, error, whole_time=whole_time)
            raise
        except Exception as error:  # told of here, and bisected by the caller
            if not self._failure_told:
                self._failure_told = True
                ids = [item.invoice_id for item in items]
                tell_of_exception(self, error, ids, self._context.settings.supervision.window_seconds)
            raise
        self._group_at_most = min(GROUP_AT_MOST, 2 * self._group_at_most)
        return result

    def _took_too_long(self, items: Sequence[Item], error: DatabaseFailed, *, whole_time: bool) -> None:
        """One row may hold up the others: they go first, in smaller groups. Raises RowHeldUp for one that is alone."""
        if len(items) == 1 and whole_time and not self._transactions.table_is_locked():
            raise RowHeldUp(str(error), error.sqlstate) from error
        self._group_at_most = max(1, len(items) // SHRINK)
        self._queue.to_end(items)

    def _stored(self, items: Sequence[Item], result: GroupResult) -> None:
        deferred = {id(item) for item in result.deferred}
        done = [item for item in items if id(item) not in deferred]
        self._queue.remove(done)
        for item in done:
            self._refused_rows.discard(item.invoice_id)
            if not isinstance(item.write, Crash):
                self._conditions.clear(Code.POISON_INVOICE, item.invoice_id)
            if isinstance(item.write, WriteOutcome) and item.write.outcome.booking is not None:
                self._conditions.clear(Code.ERP_INCORRECT_DATA, item.invoice_id)
        for invoice_id in result.held_by_answers:  # its alarm follows from the database now
            self._conditions.clear(Code.ERP_INCORRECT_DATA, invoice_id)
            self._nudge(ERP_GATEWAY, InvoiceHeld(invoice_id))
        for invoice_id in result.held:
            logger.warning("%s is held: work on it crashes", invoice_id)
            self._conditions.clear(Code.POISON_INVOICE, invoice_id)  # its alarm follows from the database now
        for invoice_id, reason in result.poison.items():
            summary = f"work on {invoice_id} crashes, and no other invoice has passed since: {reason}"
            self._conditions.raise_condition(Code.POISON_INVOICE, summary, invoice_id)
        quiet_seconds = self._context.settings.alarms.quiet_seconds
        for invoice_id, summary in result.contradicted.items():
            self._conditions.raise_condition(
                Code.ERP_INCORRECT_DATA, summary, invoice_id, immediately=True, clear_after_seconds=quiet_seconds
            )
        for name, message in dict.fromkeys(result.nudges):
            self._nudge(name, message)
        self._defer(result.deferred)

    def _defer(self, items: Sequence[Item]) -> None:
        """Their rows are locked by somebody else: they are tried again, and it is said by which session."""
        for item in items:
            item.defer(self._context.clock.monotonic())
        if again := [item.invoice_id for item in items if item.deferrals > 1]:
            self._refused_rows.report_lockers(again)

    # Rows that can't be worked on

    def _refuse_write(self, item: Item, error: Exception, since_seconds: float) -> None:
        """The database refuses this one alone, or work on it raises."""
        write, invoice_id = item.write, item.invoice_id
        if isinstance(error, RowHeldUp) and error.sqlstate == LOCK_NOT_AVAILABLE:
            self._defer([item])
            return
        self._queue.remove([item])
        constraint = error.constraint if isinstance(error, RowRefused) else None
        if isinstance(write, WriteOutcome) and constraint == BILL_ID_TAKEN and write.outcome.booking is not None:
            reason = f"its bill_id {write.outcome.booking.bill_id} is another invoice's"
            wrong = replace(write.outcome, kind=OutcomeKind.INCORRECT, booking=None, detail=reason)
            self._conditions.raise_condition(Code.ERP_INCORRECT_DATA, reason, invoice_id)
            self._queue.add([Item(invoice_id, WriteOutcome(write.delivery, wrong))])
        elif isinstance(write, Calculated) and constraint == BILLED_TWICE:
            self._queue.add([Item(invoice_id, StaleCalculation(write.claim))])
        elif isinstance(write, BackoffReset | Crash):
            self._refused_rows.add(invoice_id, str(error))
        else:
            self._count_refusal(invoice_id, error, since_seconds)

    def _count_refusal(self, invoice_id: str, error: Exception, since_seconds: float) -> None:
        logger.warning("the database refuses what is to be stored of %s: %s", invoice_id, error)
        if isinstance(error, PersistenceError):
            self._conditions.raise_condition(Code.DATABASE_ERROR, str(error), invoice_id)
        self._queue.add([Item(invoice_id, Crash(f"{self.name} crashed: {error}", since_seconds))])

    def _look_around(self) -> None:
        """What is left out is tried again; what could be claimed and isn't may be locked by somebody else."""
        if again := self._refused_rows.try_again(self._scheduler.make_these_due):
            self._queue.add(Item(each, BackoffReset()) for each in again)
            self._nudge(BILLER, Poll())
            self._nudge(ERP_GATEWAY, Poll())
        self._transactions.run_unless_refused(self._registration.catch_up)
        self._refused_rows.find_locked()

    def _nudge(self, name: str, message: object) -> None:
        try_tell(self.tell, name, message)
