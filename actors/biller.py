"""The actor that turns due invoices into calculated ones, a batch at a time.

A batch whose inputs can't be read, or that raises, is made smaller down to the invoice that it is the fault of. The
others go first. An invoice whose inputs can't be read waits with its own backoff; one that raises counts as a crash.
"""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from actors.attribution import tell_of_exception
from actors.condition_reporter import DATABASE_CODES, ConditionReporter, DatabaseBackoff, report_database_error
from actors.context import ActorContext
from actors.failpoints import failpoint
from actors.messages import DB_WRITER, ClaimDue, ClaimedDue, CountCrash, MakeDue, Overdue, Poll, WriteCalculations
from billing.invoice import Invoice, InvoiceBasis, NotReady, calculate
from billing.quarantine import backoff_seconds
from billing.rounding import Rounding
from persistence.clock_step import database_now
from persistence.connection.errors import DatabaseFailed, PersistenceError
from persistence.invoices.calculation_inputs import fetch_inputs
from persistence.invoices.changes import Change
from persistence.invoices.claims import Claimed
from supervision import Actor, Timer

logger = logging.getLogger(__name__)

INPUTS_UNREADABLE = "inputs_unreadable"
PENDING_LOOK_SECONDS = 3.0
# A claim that was asked for and not answered by then was lost, or the database is away: it is asked for again.
ANSWER_OVERDUE_SECONDS = 30.0
# The first batch of many is small, so that the ERP is soon offered something; each further one is twice the last.
FIRST_BATCH = 50
# Into so many parts a batch is split: each that can't be read costs a timeout, so few levels are better than halves.
SPLIT = 8
# A batch has this share of the statement timeout for its inputs, though at least so long: one invoice has the whole.
BATCH_SHARE, BATCH_LEAST_SECONDS = 1 / 6, 1.0
# After so many single invoices that can't be read, and none that can, it is the database.
UNREAD_AT_MOST = 3
# Reading again what can't be read takes no more than this share of the biller's time.
WAIT_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the batch in hand; `epoch` is the incarnation's that split it."""

    batch: Sequence[Claimed]
    epoch: int

    @property
    def invoice_ids(self) -> tuple[str, ...]:
        return tuple(claimed.invoice_id for claimed in self.batch)


@dataclass
class _SplitBatch:
    """What is left of a batch that was split.

    `failed_at` is the monotonic instant of the first failure, `unread` single invoices whose inputs can't be read, each
    with its error and how many seconds that took; `any_read` says that another's could be read since the first failure.
    """

    failed_at: float
    parts: deque[Sequence[Claimed]]
    unread: list[tuple[Claimed, DatabaseFailed, float]]
    any_read: bool = False


class Biller(Actor):
    """Asks for a batch, reads what it rests on, computes, hands it to the db_writer, asks for the next."""

    def __init__(self, context: ActorContext) -> None:
        super().__init__()
        self._context = context
        self._database = context.connect("biller")
        self._backoff = DatabaseBackoff()
        self._asked: Timer | None = None
        self._ask = 0
        self._batch_size = FIRST_BATCH
        self._split_batch: _SplitBatch | None = None

    def on_start(self) -> None:
        failpoint("biller.start")
        self._conditions = ConditionReporter(self.tell, DATABASE_CODES)
        self.on_unblock(self._database.unblock)
        self.every(PENDING_LOOK_SECONDS, Poll())
        self._look(newly_due=True)

    def on_receive(self, message: object) -> None:
        failpoint("biller.receive", message)
        match message:
            case Poll(newly_due=newly_due):
                self._look(newly_due=newly_due)
            case ClaimedDue(ask=ask) if ask not in (0, self._ask):
                logger.info("a batch came too late: it is claimed again")
            case ClaimedDue(batch=batch):
                if self._asked is not None:
                    self._asked.cancel()
                    self._asked = None
                self._batch_size = 2 * self._batch_size if batch else FIRST_BATCH
                if batch:
                    self._split_batch = None
                    self._work_on(_Part(batch, self.epoch))
                elif any(map(self._conditions.reported, DATABASE_CODES)):
                    self._try_database()
            case _Part(epoch=epoch) if epoch != self.epoch or self._split_batch is None:
                logger.info("a part of a batch came too late: it is claimed again")
            case _Part():
                self._work_on(message)
            case Overdue():
                self._asked = None
                self._look(newly_due=False)
            case _:
                logger.warning("biller was told what it does not know: %r", message)

    def on_stop(self) -> None:
        self._database.close()

    def _look(self, *, newly_due: bool) -> None:
        if newly_due:
            logger.debug("asks for what is due to be made")
            self.tell(DB_WRITER, MakeDue())
        if self._asked is None and self._split_batch is None:
            self._asked = self.after(ANSWER_OVERDUE_SECONDS, Overdue())
            self._batch_size = min(self._batch_size, self._context.settings.billing.batch_size)
            self._ask += 1
            self.tell(DB_WRITER, ClaimDue(self._batch_size, self._ask))

    # A batch, or a part of one

    def _work_on(self, part: _Part) -> None:
        began = self._context.clock.monotonic()
        try:
            failpoint("biller.calculate", part)
            store = self._calculate(part.batch)
        except DatabaseFailed as error:
            self._unreadable(part, error, began)
        except PersistenceError as error:
            self._give_up(error)
            return
        except Exception as error:  # noqa: BLE001 - one invoice's content must not end the actor that calculates the others
            self._raised(part, error, began)
        else:
            self._backoff.reset()
            if self._split_batch is not None:
                self._split_batch.any_read = True
            self.tell(DB_WRITER, store)
        self._go_on()

    def _calculate(self, batch: Sequence[Claimed]) -> WriteCalculations:
        settings, began = self._context.settings, self._context.clock.monotonic()
        of_id = {each.invoice_id: each for each in batch}
        limit = settings.database.statement_timeout_seconds
        if len(batch) > 1:
            limit = min(limit, max(BATCH_LEAST_SECONDS, limit * BATCH_SHARE))
        bases = self._database.run(lambda connection: fetch_inputs(connection, list(of_id), settings.zone), limit)
        calculated: list[tuple[int, Invoice]] = []
        waiting: list[Change] = []
        for basis in bases:
            invoice_id = str(basis.id)
            result = calculate(basis, settings.billing.min_coverage_percent, Rounding(settings.billing.rounding))
            if isinstance(result, NotReady):
                waiting.append(self._waits(basis, of_id[invoice_id].claim, result))
            else:
                invoice = replace(result, holds_remarks=settings.billing.hold_remarks)
                calculated.append((of_id[invoice_id].claim, invoice))
        logger.debug("calculated %s, waiting %s", [str(invoice.id) for _, invoice in calculated], len(waiting))
        if self._context.traces.on:
            due = [(each, of_id[each].due_since) for each in (str(invoice.id) for _, invoice in calculated)]
            self._context.traces.calculated(due, self._context.clock.monotonic() - began)
        return WriteCalculations(tuple(calculated), tuple(waiting))

    def _waits(self, basis: InvoiceBasis, claim: int, why: NotReady) -> Change:
        """It stays due, says what it lacks, and is looked at again: an import nudges it at once."""
        return Change(
            invoice_id=str(basis.id), claim=claim, reason=why.reason, held_code=why.code, held_reason=why.reason,
            delay_seconds=self._context.settings.billing.look_every_seconds, passed=True,
            meter_versions=basis.meter_versions,
        )  # fmt: skip

    # What fails

    def _unreadable(self, part: _Part, error: DatabaseFailed, began: float) -> None:
        split_batch = self._begin_split(began)
        if len(part.batch) > 1:
            logger.warning("the inputs of %s invoices can't be read together: %s", len(part.batch), error)
            self._batch_size = max(1, min(self._batch_size, len(part.batch) // SPLIT))
            self._split(split_batch, part.batch)
        else:
            split_batch.unread.append((part.batch[0], error, self._context.clock.monotonic() - began))

    def _raised(self, part: _Part, error: Exception, began: float) -> None:
        if self._split_batch is None:
            tell_of_exception(self, error, part.invoice_ids, self._context.settings.supervision.window_seconds)
        split_batch = self._begin_split(began)
        if len(part.batch) > 1:
            self._split(split_batch, part.batch)
            return
        what = f"{type(error).__name__}: {error}"[:300]
        self.tell(DB_WRITER, CountCrash(part.invoice_ids, self.name, "crashed", what, split_batch.failed_at))

    def _begin_split(self, began: float) -> _SplitBatch:
        if self._split_batch is None:
            self._split_batch = _SplitBatch(began, deque(), [])
        return self._split_batch

    @staticmethod
    def _split(split_batch: _SplitBatch, batch: Sequence[Claimed]) -> None:
        size = -(-len(batch) // SPLIT)
        split_batch.parts.extend(batch[at : at + size] for at in range(0, len(batch), size))

    def _go_on(self) -> None:
        """The next part, or, at the end of the batch, the next batch."""
        split_batch = self._split_batch
        if split_batch is not None:
            none_read = not split_batch.any_read and len(split_batch.unread) >= UNREAD_AT_MOST
            if split_batch.parts and not none_read:
                # Until one could be read the smallest parts go first, to find out; then the largest.
                batch = split_batch.parts.popleft() if split_batch.any_read else split_batch.parts.pop()
                self.tell(self.name, _Part(batch, self.epoch))
                return
            again = [unread for unread in split_batch.unread if split_batch.any_read or unread[0].failures]
            if len(again) < len(split_batch.unread):
                self._give_up(split_batch.unread[-1][1])
            self._let_wait(again)
            self._split_batch = None
        if self._asked is None:
            self._conditions.clear_all(self.name)
            self._look(newly_due=False)

    def _give_up(self, error: PersistenceError) -> None:
        """It is the database: the claims are given up, and the poll after the wait takes them up again."""
        report_database_error(self._conditions, error, self.name)
        self._split_batch = None
        self._asked = self.after(self._backoff.next_seconds(), Overdue())

    def _try_database(self) -> None:
        """What it has failed on is another's now: whether the database answers shows without an invoice."""
        try:
            self._database.run(database_now, self._context.settings.database.statement_timeout_seconds)
        except PersistenceError as error:
            self._give_up(error)
        else:
            self._conditions.clear_all(self.name)

    def _let_wait(self, unread: Sequence[tuple[Claimed, DatabaseFailed, float]]) -> None:
        """These alone can't be read, while others can: each stays due, by itself, and is tried again ever later."""
        retry = self._context.settings.erp.retry
        changes = []
        for claimed, error, took_seconds in unread:
            backoff = backoff_seconds(claimed.failures, retry.base_seconds, retry.max_seconds)
            reason = f"its inputs can't be read: {error}"
            logger.warning("%s waits: %s", claimed.invoice_id, reason)
            changes.append(
                Change(
                    invoice_id=claimed.invoice_id, claim=claimed.claim, reason=reason, held_code=INPUTS_UNREADABLE,
                    held_reason=reason, failures=claimed.failures + 1, alone=True,
                    delay_seconds=min(retry.max_seconds, max(backoff, WAIT_FACTOR * took_seconds)),
                )
            )  # fmt: skip
        if changes:
            self.tell(DB_WRITER, WriteCalculations((), tuple(changes)))
