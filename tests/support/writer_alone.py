"""The db_writer by itself on a real database: what it tells is kept, time passes when the test says so."""

import threading
import time
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text

from actors import writer
from actors.context import ActorContext
from actors.messages import (
    ALARMS,
    BILLER,
    DB_WRITER,
    ERP_GATEWAY,
    ClaimDeliveries,
    ClaimDue,
    ClaimedDeliveries,
    ClaimedDue,
    Poll,
)
from actors.writer import DbWriter
from alarming.conditions import ConditionActive, ConditionCleared
from billing.invoice import Invoice, calculate
from persistence.connection.database import Database
from persistence.invoices.calculation_inputs import fetch_inputs
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from supervision.mailbox import Envelope
from tests.support.actor_context import make_context
from tests.support.sample import BAD
from tests.support.supervision import ActorHarness

PATIENCE_SECONDS = 10.0
# As short as the rules between the settings allow, so that what waits for a limit is soon over.
LIMITS: dict[str, Any] = {
    "database": {"statement_timeout_seconds": 8, "lock_timeout_seconds": 1},
    "erp": {"retry": {"base_seconds": 0.1, "max_seconds": 4}},
}


def context_on(database_url: str, settings: dict[str, Any] | None = None) -> ActorContext:
    """Of a daemon in September 2026 that is called `here`."""
    return make_context(database_url, **(settings or LIMITS))


def import_three_users(database: Database) -> None:
    """Three users to be billed for August 2026, with their readings."""
    with database.transaction() as connection:
        import_master(connection, BAD / "master.yaml")
    with database.transaction() as connection:
        import_readings(connection, BAD / "readings-2026-08.csv.gz")


class WriterAlone:
    """A db_writer whose messages come from the test."""

    def __init__(self, parts: ActorContext) -> None:
        self.parts = parts
        self._harness = ActorHarness(DB_WRITER, lambda: DbWriter(parts))
        self._harness.actor.on_start()
        self.asked = 0

    def tell(self, *messages: object) -> None:
        """Handles one message after the other."""
        for each in messages:
            self._harness.actor.on_receive(each)

    def queue(self, *messages: object) -> None:
        """They wait in its mailbox, for the next message that it takes."""
        for each in messages:
            self._harness.mailbox(DB_WRITER).put(Envelope(each))

    def let_time_pass(self) -> None:
        """Its timers fire."""
        self.tell(writer._Retry(), Poll())

    def until(
        self, condition: Callable[[], Any], *asks: Callable[[], object], seconds: float = PATIENCE_SECONDS
    ) -> Any:
        """Lets time pass, and asks again and again, until the condition holds."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, f"not within {seconds} s"
            self.tell(*(ask() for ask in asks))
            self.let_time_pass()
            threading.Event().wait(0.02)
        return found

    def close(self) -> None:
        self._harness.actor.on_stop()

    # What it has told

    @property
    def all_told(self) -> list[tuple[str, Any]]:
        """To whom, and what."""
        return self._harness.told

    def told(self, name: str) -> list[Any]:
        return [message for to, message in self._harness.told if to == name]

    def forget_claimed(self) -> None:
        """What follows in `claimed` is claimed from now on."""
        self._harness.told[:] = [each for each in self._harness.told if each[0] == ALARMS]

    def claimed(self) -> set[str]:
        """What was handed out to the biller and to the gateway."""
        answers = (*self.told(BILLER), *self.told(ERP_GATEWAY))
        return {
            each
            for message in answers
            if isinstance(message, ClaimedDue | ClaimedDeliveries)
            for each in message.invoice_ids
        }

    def troubled(self, code: str = "database_error") -> dict[str | None, str]:
        """Who is in trouble by this code now, and the words of the last sign."""
        standing: dict[str | None, str] = {}
        for sign in self.told(ALARMS):
            if sign.code != code:
                continue
            if isinstance(sign, ConditionActive):
                standing[sign.subject] = sign.summary
            elif isinstance(sign, ConditionCleared) and sign.subject is None:
                standing.clear()
            else:
                standing.pop(sign.subject, None)
        return standing

    # What may be asked of it

    def claim_due(self) -> ClaimDue:
        self.asked += 1
        return ClaimDue(10, self.asked)

    def claim_deliveries(self, *, probe: bool = False) -> ClaimDeliveries:
        held = (
            each
            for message in self.told(ERP_GATEWAY)
            if isinstance(message, ClaimedDeliveries)
            for each in message.invoice_ids
        )
        return ClaimDeliveries(frozenset(held), 10, 10, self.parts.clock.boottime(), probe)


def rows(database: Database, columns: str) -> dict[str, Any]:
    """Of each invoice what `columns` say."""
    with database.transaction() as connection:
        found = connection.execute(text(f"SELECT id, {columns} AS value FROM invoices"))
        return {row.id: row.value for row in found}


def calculated(database: Database, claim_of: dict[str, int]) -> list[tuple[int, Invoice]]:
    """The calculations of these invoices under their claims."""
    with database.transaction() as connection:
        made = [calculate(basis, 95) for basis in fetch_inputs(connection, list(claim_of), ZoneInfo("Europe/Zagreb"))]
    return [(claim_of[str(each.id)], each) for each in made if isinstance(each, Invoice)]
