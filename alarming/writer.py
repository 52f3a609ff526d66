"""The thread that writes alarms to the table and reads what the table and the invoices say; it may block."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from alarming.background import BackgroundThread
from alarming.catalogue import CATALOGUE
from persistence.alarms import AlarmRecord, AlarmState, StateSettings, read_state, store, sweep
from persistence.connection.database import Database
from persistence.connection.errors import PersistenceError, RowRefused

LOOK_EVERY_SECONDS: Final = 2.0
"""How often the invoices are looked at; also the pause while the database is away."""

_SWEEP_EVERY_SECONDS = 3600.0
_DEADLINE_SECONDS = 10.0
_LOGGER = logging.getLogger("billingd.alarms.table")


@dataclass(frozen=True)
class Stored:
    """The table has an alarm, under the id of `table`."""

    mine: AlarmRecord
    table: AlarmRecord


@dataclass(frozen=True)
class Failed:
    error: PersistenceError


Result = Stored | AlarmState | Failed


class AlarmWriter(BackgroundThread[Result]):
    """Takes what has to be written with `offer`, gives what came of it with `take`; neither waits."""

    def __init__(
        self,
        database: Database,
        instance: str,
        settings: StateSettings,
        now: Callable[[], datetime],
        every_seconds: float = LOOK_EVERY_SECONDS,
        on_start: Callable[[], object] = lambda: None,
        reached: Callable[[str], object] = lambda _: None,
    ) -> None:
        super().__init__("alarm-table", on_start)
        self.settings = settings
        self._database = database
        self._instance = instance
        self._now = now
        self._reached = reached
        self._every_seconds = every_seconds
        self._state_codes = sorted(code for code, entry in CATALOGUE.items() if entry.by_period)
        self._lock = threading.Lock()
        self._records: tuple[AlarmRecord, ...] = ()
        self._known: tuple[str, ...] = ()
        self._sweep_due = time.monotonic()

    def stop(self, wait_seconds: float = 0.5) -> None:
        """Ends the thread, out of a call that it waits in too; a last write that works is quick."""
        super().stop(wait_seconds)
        self._database.unblock()

    def close(self) -> None:
        self._database.close()

    def offer(self, records: Sequence[AlarmRecord], known: Sequence[str], *, at_once: bool) -> None:
        """Says what the table lacks, and which invoices have a reported alarm; replaces what was said before."""
        with self._lock:
            self._records, self._known = tuple(records), tuple(known)
        if at_once:
            self.wake()

    def work(self) -> float:
        with self._lock:
            records, known = self._records, self._known
        try:
            for record in records:
                self._store(record)
            with self._database.reading(_DEADLINE_SECONDS) as reader:
                now, codes = self._now(), self._state_codes
                state = read_state(reader, self.settings, self._instance, now, state_codes=codes, known=known)
            self.results.append(state)
            if time.monotonic() >= self._sweep_due:
                self._database.run(lambda connection: sweep(connection, self._instance), _DEADLINE_SECONDS)
                self._sweep_due = time.monotonic() + _SWEEP_EVERY_SECONDS
        except PersistenceError as error:
            self.results.append(Failed(error))
        return self._every_seconds

    def _store(self, record: AlarmRecord) -> None:
        def work(connection: Connection) -> AlarmRecord:
            stored = store(connection, record)
            self._reached("uncommitted")
            return stored

        self._reached("storing")
        try:
            stored = self._database.run(work, _DEADLINE_SECONDS)
        except RowRefused as error:  # another daemon was quicker, or it holds what no row can: others go on
            _LOGGER.warning("alarm %s is not in the table yet: %s", record.id, error)
            return
        self._reached("stored")
        self.results.append(Stored(record, stored))
