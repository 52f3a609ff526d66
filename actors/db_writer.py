"""The actor that alone changes invoices in the daemon: what waits goes into one transaction, claims included.

An outage never crashes it. What it could not store stays with it and is tried again; if it is lost all the same
(a crash, a kill), the database still knows whose claim it was, and the next look takes it up.
"""

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from actors.failpoints import failpoint
from actors.messages import (
    BILLER,
    ERP_GATEWAY,
    Calculate,
    ClaimDeliveries,
    ClaimDue,
    Contradicted,
    CountCrash,
    Deliveries,
    ForgetWaits,
    Held,
    Look,
    MakeDue,
    Record,
    Store,
    Unfinished,
)
from actors.parts import Parts
from actors.presence import Presence
from actors.reactions import incorrect
from actors.tidings import DATABASE_CODES, DatabaseBackoff, Tidings, database_trouble
from alarming.catalogue import Code
from billing.periods import Period, Schedule, due_periods
from persistence import claims, invoices
from persistence.blame import Blamed, blame, count_crash, crashing_without_witness
from persistence.errors import CommitUnknown, DatabaseFailed, PersistenceError, RowRefused
from persistence.writes import Change, apply_changes, store_calculations, was_written
from supervision import Actor
from supervision.errors import SupervisionError

logger = logging.getLogger(__name__)

TICK_SECONDS = 2.0
GROUP_AT_MOST = 1000
# What somebody else's transaction can do to one row of ours: lock not available, deadlock.
HELD_UP_BY_OTHERS = ("55P03", "40P01")
BILL_ID_TAKEN = "invoices_bill_id_key"

Write = Store | Record | CountCrash | ForgetWaits | MakeDue
Claim = ClaimDue | ClaimDeliveries


@dataclass(frozen=True, slots=True)
class _Tick:
    """Time to look at what others say, and to say that we live."""


@dataclass(frozen=True, slots=True)
class _Retry:
    """Time to try the database again."""


class DbWriter(Actor):
    """Groups writes, then claims; tells who asked."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self._parts = parts
        self._database = parts.connect("db_writer", listen=True)
        self._writes: list[Write] = []
        self._claims: dict[type, Claim] = {}
        self._unsure: tuple[uuid.UUID, list[Write]] | None = None
        self._backoff = DatabaseBackoff()
        self._resting = False
        self._one_at_a_time_until = float("-inf")

    def on_start(self) -> None:
        failpoint("db_writer.start")
        if self.epoch > 1:
            self._go_on_after_another()
        self._tidings = Tidings(
            self.tell, (*DATABASE_CODES, Code.INSTANCE_NAME_TAKEN, Code.DAEMON_WAS_DOWN, Code.POISON_INVOICE)
        )
        self._presence = Presence(self._parts, self._tidings)
        self.on_unblock(self._database.unblock)
        self.every(TICK_SECONDS, _Tick())
        self._work(tick=True)

    def on_receive(self, message: object) -> object:
        if isinstance(message, Unfinished):
            return len(self._writes)
        failpoint("db_writer.receive", message)
        tick = False
        grouped = self._parts.clock.monotonic() >= self._one_at_a_time_until
        for each in (message, *(self.take_waiting(GROUP_AT_MOST) if grouped else ())):
            match each:
                case _Tick():
                    tick = True
                case _Retry():
                    self._resting = False
                case ClaimDue() | ClaimDeliveries():
                    self._claims[type(each)] = each
                case Store() | Record() | CountCrash() | ForgetWaits() | MakeDue():
                    self._writes.append(each)
                case _:
                    logger.warning("db_writer was told what it does not know: %r", each)
        self._note_lag()
        if not self._resting:
            self._work(tick=tick)
            self._note_lag()
        return None

    def _go_on_after_another(self) -> None:
        """After a crash what crashes is to be alone in hand; and who waits for a claim may ask for it again."""
        window_seconds = self._parts.settings.supervision.window_seconds
        self._one_at_a_time_until = self._parts.clock.monotonic() + window_seconds
        for name, nothing in ((BILLER, Calculate(())), (ERP_GATEWAY, Deliveries((), 0.0, several_open=True))):
            self._nudge(name, nothing)
            self._nudge(name, Look())

    def _note_lag(self) -> None:
        self._parts.meters.writer_waits(bool(self._writes), self._parts.clock.monotonic())

    def on_stop(self) -> None:
        try:
            # After a crash nobody leaves, and what was in hand is not tried again here: its claims tell the next one.
            if self.stopping and not self._resting:
                self._work(tick=False)
                self._guarded(self._presence.leave)
        finally:
            self._database.close()

    def _transaction(self) -> Any:
        """One message has one deadline for all its work with the database, below the hang deadline."""
        return self._database.transaction(self._parts.settings.database.statement_timeout_seconds)

    def _work(self, *, tick: bool) -> None:
        if self._guarded(lambda: self._all_of_it(tick=tick)):
            self._backoff.reset()

    def _guarded(self, work: Any) -> bool:
        try:
            work()
        except PersistenceError as error:
            database_trouble(self._tidings, error, self.name)
            self._resting = True
            self.after(self._backoff.next_seconds(), _Retry())
            return False
        return True

    def _all_of_it(self, *, tick: bool) -> None:
        if tick or not self._presence.arrived:
            with self._transaction() as connection:
                self._presence.show(connection)
            self._presence.say()
            self._pass_nudges_on(self._database.notifications())
        if not self._presence.may_work():
            return
        self._resolve_commit()
        while self._writes:
            batch = self._writes[:GROUP_AT_MOST]
            self._write(batch)
            del self._writes[: len(batch)]
        self._claim_all()
        self._tidings.all_fine(self.name)

    def _resolve_commit(self) -> None:
        """A COMMIT whose answer was lost may have happened: its id in the history says so."""
        if self._unsure is None:
            return
        write_id, batch = self._unsure
        with self._transaction() as connection:
            happened = was_written(connection, write_id)
        self._unsure = None
        if happened:
            del self._writes[: len(batch)]
            self._nudge(ERP_GATEWAY, Look())

    # Writing

    def _write(self, batch: list[Write], *, alone: bool = False) -> None:
        """Stores a batch; one that the database refuses is split until the bad row stands alone."""
        write_id = uuid.uuid4()
        try:
            with self._transaction() as connection:
                if alone:
                    connection.execute(text("SET LOCAL lock_timeout = '300ms'"))
                replies = self._apply(connection, write_id, batch)
        except CommitUnknown:
            self._unsure = (write_id, batch) if not alone else None
            raise
        except DatabaseFailed as error:
            if not (isinstance(error, RowRefused) or error.sqlstate in HELD_UP_BY_OTHERS):
                raise
            parts = _halves(batch)
            if parts is None:
                self._refused(batch[0], error)
                return
            for part in parts:
                self._write(part, alone=True)
            return
        for write in batch:
            for invoice_id in getattr(write, "invoice_ids", ()):
                self._tidings.fine(Code.DATABASE_ERROR, invoice_id)
                if not isinstance(write, CountCrash):
                    self._tidings.fine(Code.POISON_INVOICE, invoice_id)
        for name, reply in dict.fromkeys(replies):
            self._nudge(name, reply)

    def _apply(self, connection: Connection, write_id: uuid.UUID, batch: Sequence[Write]) -> list[tuple[str, object]]:
        by, replies = self._parts.claimer, list[tuple[str, object]]()
        stores = [each for each in batch if isinstance(each, Store)]
        records = [each.write for each in batch if isinstance(each, Record)]
        if store_calculations(connection, by, write_id, [pair for store in stores for pair in store.calculated]):
            failpoint("db_writer.store", *stores)
            replies.append((ERP_GATEWAY, Look()))
        changes = [each for each in records if isinstance(each, Change)]
        changes += [change for store in stores for change in store.waiting]
        done = apply_changes(connection, by, write_id, changes)
        if any(each.to_state == "registered" for each in changes):
            failpoint("db_writer.store_verdict", *batch)
        self._tell_of_contradictions(connection, [each for each in changes if each.invoice_id not in done])
        for blamed in (each for each in records if isinstance(each, Blamed)):
            if blame(connection, by, write_id, blamed):
                replies.append((ERP_GATEWAY, Held(blamed.change.invoice_id, blamed.code)))
        for each in batch:
            match each:
                case CountCrash():
                    self._count(connection, write_id, each)
                case ForgetWaits():
                    claims.forget_waits_for_the_erp(connection)
                    replies.append((ERP_GATEWAY, Look()))
                case MakeDue():
                    if self._make_due(connection):
                        replies.append((BILLER, Look()))
        return replies

    def _make_due(self, connection: Connection) -> int:
        first = invoices.first_billed_period(connection)
        if first is None:
            return 0
        billing = self._parts.settings.billing
        due = due_periods(Period.parse(first), self._parts.now(), Schedule(billing.schedule), self._parts.settings.zone)
        return invoices.make_due(
            connection, self._parts.claimer, [str(period) for period in due], reason="the period is due"
        )

    def _count(self, connection: Connection, write_id: uuid.UUID, crash: CountCrash) -> None:
        settings = self._parts.settings
        reason = f"{crash.actor} {crash.how}: {crash.what}"
        held = count_crash(
            connection, self._parts.claimer, write_id, crash.invoices, reason=reason,
            max_attempts=settings.work.max_attempts, backoff_base_seconds=settings.erp.retry.base_seconds,
            backoff_max_seconds=settings.erp.retry.max_seconds,
        )  # fmt: skip
        for invoice_id in held:
            logger.warning("%s is held: work on it crashes", invoice_id)
            self._tidings.fine(Code.POISON_INVOICE, invoice_id)  # its alarm follows from the database now
        for invoice_id in crashing_without_witness(connection, crash.invoices, settings.work.max_attempts):
            summary = f"work on {invoice_id} crashes, and no other invoice has passed since: {reason}"
            self._tidings.trouble(Code.POISON_INVOICE, summary, invoice_id)

    def _refused(self, write: Write, error: DatabaseFailed) -> None:
        """One row that the database alone refuses, or that somebody else keeps locked."""
        if not isinstance(error, RowRefused):
            subject = write.invoice_ids[0] if isinstance(write, Store | Record) else self.name
            self._tidings.trouble(Code.DATABASE_ERROR, str(error), subject)
            return  # the row stays claimed and nobody holds it: the next look takes it up
        if isinstance(write, Record) and isinstance(write.write, Change) and error.constraint == BILL_ID_TAKEN:
            most = self._parts.settings.erp.max_incorrect_answers
            wrong = incorrect(write.write, f"its bill_id {write.write.bill_id} is another invoice's", most)
            self._nudge(ERP_GATEWAY, Contradicted(write.write.invoice_id, wrong.change.reason))
            self._write([Record(wrong)], alone=True)
            return
        if isinstance(write, Store | Record):
            self._count_refusal(write.invoice_ids, error)
            return
        raise error

    def _count_refusal(self, ids: tuple[str, ...], error: RowRefused) -> None:
        logger.warning("the database refuses what is to be stored of %s: %s", ", ".join(ids), error)
        self._tidings.trouble(Code.DATABASE_ERROR, str(error), ids[0])
        self._write([CountCrash(ids, self.name, "crashed", str(error))], alone=True)

    def _tell_of_contradictions(self, connection: Connection, late: Sequence[Change]) -> None:
        """A late booking of what is final with us changes nothing; that it differs is an alarm."""
        for change in late:
            if change.to_state != "registered":
                continue
            ours = connection.execute(
                text("SELECT state, bill_id FROM invoices WHERE id = :id"), {"id": change.invoice_id}
            ).one_or_none()
            if ours and ours.state in ("registered", "aborted") and ours.bill_id != change.bill_id:
                self._tidings.trouble(
                    Code.ERP_INCORRECT_DATA,
                    f"the ERP books {change.invoice_id} as {change.bill_id}, here it is {ours.bill_id or ours.state}",
                    change.invoice_id,
                    immediately=True,
                    clear_after_seconds=self._parts.settings.alarms.quiet_seconds,
                )

    # Claiming

    def _claim_all(self) -> None:
        """One kind of claim that fails keeps the other from nothing."""
        failed: PersistenceError | None = None
        for kind, claim in list(self._claims.items()):
            try:
                self._claim(claim)  # with the database away it stays asked for
            except RowRefused as error:
                self._claim_one_by_one(claim, error)
                del self._claims[kind]
            except DatabaseFailed as error:
                failed = error
            else:
                del self._claims[kind]
        if failed is not None:
            raise failed

    def _claim(self, claim: Claim) -> None:
        settings = self._parts.settings
        approved_only = settings.billing.approval == "required"
        by = claims.Claimer(self._parts.claimer, settings.work.lease_seconds, approved_only)
        with self._transaction() as connection:
            if isinstance(claim, ClaimDeliveries):
                failpoint("db_writer.claim_deliveries")
                deliveries = _deliveries(connection, by, claim)
            else:
                failpoint("db_writer.claim_due")
                batch = claims.claim_due(connection, by, limit=claim.limit, holding=())
        if isinstance(claim, ClaimDeliveries):
            self._nudge(ERP_GATEWAY, deliveries)
        else:
            self._nudge(BILLER, Calculate(batch, claim.ask))

    def _claim_one_by_one(self, claim: Claim, error: RowRefused) -> None:
        """One row that the database refuses to have claimed keeps the others from nothing; it counts as a crash."""
        if not isinstance(claim, ClaimDeliveries):
            raise error
        settings = self._parts.settings
        by = claims.Claimer(
            self._parts.claimer, settings.work.lease_seconds, settings.billing.approval == "required"
        )  # fmt: skip
        with self._transaction() as connection:
            ready = claims.ready_to_offer(connection, by, limit=max(1, claim.offers))
        found: list[claims.Delivery] = []
        for invoice_id in ready:
            try:
                with self._transaction() as connection:
                    found += claims.claim_offer(connection, by, invoice_id)
            except RowRefused as refused:
                with self._transaction() as connection:
                    claims.claim_as_it_is(connection, by, invoice_id)
                self._count_refusal((invoice_id,), refused)
        self._nudge(ERP_GATEWAY, Deliveries(found[:1] if claim.probe else found, claim.asked_at_seconds, True))

    def _pass_nudges_on(self, payloads: Sequence[str]) -> None:
        if payloads:
            self._nudge(BILLER, Look(newly_due=True))
            self._nudge(ERP_GATEWAY, Look())

    def _nudge(self, name: str, message: object) -> None:
        """A message is only a nudge: one that can't be delivered costs a moment."""
        try:
            self.tell(name, message)
        except SupervisionError as error:
            logger.info("%s was not told: %s", name, error)


def _deliveries(connection: Connection, by: claims.Claimer, claim: ClaimDeliveries) -> Deliveries:
    if claim.probe:
        found = claims.claim_probe(connection, by, never=claim.never)
    else:
        found = []
        if claim.offers:
            found += claims.claim_deliveries(connection, by, limit=claim.offers, holding=claim.holding)
        if claim.questions:
            found += claims.claim_questions(connection, by, limit=claim.questions, holding=claim.holding)
    return Deliveries(
        found, claim.asked_at_seconds, claims.several_open(connection, approved_only=by.approved_only), claim.probe
    )


def _halves(batch: list[Write]) -> tuple[list[Write], list[Write]] | None:
    """Two smaller batches, or None where only one row is left."""
    if len(batch) > 1:
        return batch[: len(batch) // 2], batch[len(batch) // 2 :]
    only = batch[0]
    if isinstance(only, Store) and len(only.calculated) + len(only.waiting) > 1:
        calculated, waiting = len(only.calculated) // 2, (len(only.waiting) + 1) // 2
        first = Store(only.calculated[:calculated], only.waiting[:waiting])
        return [first], [Store(only.calculated[calculated:], only.waiting[waiting:])]
    return None
