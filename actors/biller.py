"""The actor that turns due invoices into calculated ones, a batch at a time."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from actors.failpoints import failpoint
from actors.messages import DB_WRITER, Calculate, ClaimDue, Look, MakeDue, Store
from actors.parts import Parts
from actors.tidings import DATABASE_CODES, DatabaseBackoff, Tidings, database_trouble
from billing.invoice import Invoice, NotReady, calculate
from persistence.bases import fetch_bases
from persistence.claims import Claimed
from persistence.errors import PersistenceError
from persistence.writes import Change
from supervision import Actor, Timer

logger = logging.getLogger(__name__)

PENDING_LOOK_SECONDS = 3.0
# A claim that was asked for and not answered by then was lost, or the database is away: it is asked for again.
ANSWER_OVERDUE_SECONDS = 30.0
# The first batch of many is small, so that the ERP is soon offered something; each further one is twice the last.
FIRST_BATCH = 50


@dataclass(frozen=True, slots=True)
class _Overdue:
    """The answer to what was asked of the db_writer is late, or the wait after a failure is over."""


class Biller(Actor):
    """Asks for a batch, reads what it rests on, computes, hands it to the db_writer, asks for the next."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self._parts = parts
        self._database = parts.connect("biller")
        self._backoff = DatabaseBackoff()
        self._asked: Timer | None = None
        self._ask = 0
        self._batch_size = FIRST_BATCH

    def on_start(self) -> None:
        failpoint("biller.start")
        self._tidings = Tidings(self.tell, DATABASE_CODES)
        self.on_unblock(self._database.unblock)
        self.every(PENDING_LOOK_SECONDS, Look())
        self._look(newly_due=True)

    def on_receive(self, message: object) -> None:
        failpoint("biller.receive", message)
        match message:
            case Look(newly_due=newly_due):
                self._look(newly_due=newly_due)
            case Calculate(ask=ask) if ask not in (0, self._ask):
                logger.info("a batch came too late: it is claimed again")
            case Calculate(batch=batch):
                if self._asked is not None:
                    self._asked.cancel()
                    self._asked = None
                self._batch_size = 2 * self._batch_size if batch else FIRST_BATCH
                if batch:
                    failpoint("biller.calculate", message)
                    self._calculate(batch)
            case _Overdue():
                self._asked = None
            case _:
                logger.warning("biller was told what it does not know: %r", message)

    def on_stop(self) -> None:
        self._database.close()

    def _look(self, *, newly_due: bool) -> None:
        if newly_due:
            self.tell(DB_WRITER, MakeDue())
        if self._asked is None:
            self._asked = self.after(ANSWER_OVERDUE_SECONDS, _Overdue())
            self._batch_size = min(self._batch_size, self._parts.settings.billing.batch_size)
            self._ask += 1
            self.tell(DB_WRITER, ClaimDue(self._batch_size, self._ask))

    def _calculate(self, batch: Sequence[Claimed]) -> None:
        settings = self._parts.settings
        claim_of = {each.invoice_id: each.claim for each in batch}
        try:
            with self._database.transaction(settings.database.statement_timeout_seconds) as connection:
                bases = fetch_bases(connection, list(claim_of), settings.zone)
        except PersistenceError as error:
            # The batch is claimed and nobody holds it: the next look takes it up.
            database_trouble(self._tidings, error, self.name)
            self._asked = self.after(self._backoff.next_seconds(), _Overdue())
            return
        self._backoff.reset()
        self._tidings.all_fine(self.name)
        calculated: list[tuple[int, Invoice]] = []
        waiting: list[Change] = []
        for basis in bases:
            invoice_id = str(basis.id)
            result = calculate(basis, settings.billing.min_coverage_percent)
            if isinstance(result, NotReady):
                waiting.append(self._waits(invoice_id, claim_of[invoice_id], result))
            else:
                calculated.append((claim_of[invoice_id], result))
        self.tell(DB_WRITER, Store(tuple(calculated), tuple(waiting)))
        self._look(newly_due=False)

    def _waits(self, invoice_id: str, claim: int, why: NotReady) -> Change:
        """It stays due, says what it lacks, and is looked at again: an import nudges it at once."""
        return Change(
            invoice_id=invoice_id, claim=claim, reason=why.reason, held_code=why.code, held_reason=why.reason,
            delay_seconds=self._parts.settings.billing.look_every_seconds,
        )  # fmt: skip
