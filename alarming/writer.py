"""The keeper of the table: writes alarms to it and looks at the invoices, in a thread that may block."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from alarming.alarm import AlarmRecord
from alarming.state_alarms import Look, StateSettings, look
from alarming.store import store, sweep
from alarming.worker import BackgroundThread
from persistence.database import Database
from persistence.errors import PersistenceError, RowRefused

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
    """The database did not do what it was asked."""

    error: PersistenceError


Result = Stored | Look | Failed


class AlarmWriter:
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
        self.settings = settings
        self._database = database
        self._instance = instance
        self._now = now
        self._reached = reached
        self._every_seconds = every_seconds
        self._lock = threading.Lock()
        self._records: tuple[AlarmRecord, ...] = ()
        self._known: tuple[str, ...] = ()
        self._results: deque[Result] = deque(maxlen=2000)
        self._sweep_due = time.monotonic()
        self._worker = BackgroundThread("alarm-table", self._work, on_start, database.close)

    def start(self) -> None:
        """Starts the thread."""
        self._worker.start()

    def stop(self) -> None:
        """Ends the thread, out of a call that it waits in too."""
        self._worker.stop()
        self._worker.join(0.5)  # a last write that works is quick
        self._database.unblock()

    def offer(self, records: Sequence[AlarmRecord], known: Sequence[str], *, at_once: bool) -> None:
        """Says what the table lacks, and which invoices have an alarm by a sign; replaces what was said before."""
        with self._lock:
            self._records, self._known = tuple(records), tuple(known)
        if at_once:
            self._worker.wake()

    def take(self) -> list[Result]:
        """What has come of it since last time."""
        results = []
        while self._results:
            results.append(self._results.popleft())
        return results

    def _work(self) -> float:
        with self._lock:
            records, known = self._records, self._known
        try:
            for record in records:
                self._store(record)
            with self._database.transaction(deadline_seconds=_DEADLINE_SECONDS) as connection:
                self._results.append(look(connection, self.settings, self._instance, self._now(), known))
            if time.monotonic() >= self._sweep_due:
                with self._database.transaction(deadline_seconds=_DEADLINE_SECONDS) as connection:
                    sweep(connection, self._instance)
                self._sweep_due = time.monotonic() + _SWEEP_EVERY_SECONDS
        except PersistenceError as error:
            self._results.append(Failed(error))
        return self._every_seconds

    def _store(self, record: AlarmRecord) -> None:
        self._reached("storing")
        try:
            with self._database.transaction(deadline_seconds=_DEADLINE_SECONDS) as connection:
                stored = store(connection, record)
                self._reached("uncommitted")
        except RowRefused as error:  # another daemon was quicker, or it holds what no row can: others go on
            _LOGGER.warning("alarm %s is not in the table yet: %s", record.id, error)
            return
        self._reached("stored")
        self._results.append(Stored(record, stored))
