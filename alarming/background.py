"""The threads beside the alarm actor for what may block: their base, and the one that writes alarms to the table."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from sqlalchemy import Connection

from alarming.catalogue import CATALOGUE
from persistence.alarms import AlarmRecord, AlarmState, StateSettings, read_state, store, sweep
from persistence.connection.database import Database
from persistence.connection.errors import DatabaseFailed, PersistenceError, RowRefused

T = TypeVar("T")
_LOGGER = logging.getLogger("billingd.alarms.worker")
_AFTER_A_DEFECT_SECONDS = 5.0
_RESULTS_AT_MOST = 2000

LOOK_EVERY_SECONDS: Final = 2.0
"""How often the invoices are looked at; also the pause while the database is away."""

_SWEEP_EVERY_SECONDS = 3600.0
_DEADLINE_SECONDS = 10.0
_TABLE_LOGGER = logging.getLogger("billingd.alarms.table")


class BackgroundThread(Generic[T]):
    """Calls `work` again and again; what comes of it is taken by the alarm actor, which never waits.

    The thread's name says that it is the alarms' own: what is logged there raises no alarm (log_rules.py).
    """

    def __init__(self, name: str) -> None:
        self.results: deque[T] = deque(maxlen=_RESULTS_AT_MOST)
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"alarm-{name}", daemon=True)

    def work(self) -> float:
        """Does what there is to do; returns the pause in seconds, which `wake` cuts short."""
        raise NotImplementedError

    def close(self) -> None:
        """Called in the thread, at its end."""

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self, wait_seconds: float = 0.0) -> None:
        """Lets the thread end after the work in hand; waits at most so long for it."""
        self._stopping = True
        self._wake.set()
        self._thread.join(wait_seconds)

    def take(self) -> list[T]:
        return [self.results.popleft() for _ in range(len(self.results))]

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                pause_seconds = self.work()
            except Exception as error:  # alarms have to go on whatever defect this has
                _LOGGER.error("%s failed; it tries again", self._thread.name, exc_info=error)
                pause_seconds = _AFTER_A_DEFECT_SECONDS
            if not self._stopping:
                self._wake.wait(pause_seconds)
        self.close()


@dataclass(frozen=True)
class Stored:
    """The table has an alarm, under the id of `table`."""

    mine: AlarmRecord
    table: AlarmRecord


@dataclass(frozen=True)
class Failed:
    """What failed; `state` is what was read all the same."""

    error: PersistenceError
    state: AlarmState | None = None


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
        reached: Callable[[str], object] = lambda _: None,
    ) -> None:
        super().__init__("table")
        self.settings = settings
        self.retry_seconds = every_seconds
        self._database = database
        self._instance = instance
        self._now = now
        self._reached = reached
        self._every_seconds = every_seconds
        self._state_codes = sorted(code for code, entry in CATALOGUE.items() if entry.by_period)
        self._lock = threading.Lock()
        self._records: tuple[AlarmRecord, ...] = ()
        self._known: tuple[str, ...] = ()
        self._failed_seconds: dict[str, float] = {}  # when an alarm could not be stored the last time, by its id
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
            failed = self._store_all(records)
            with self._database.reading(_DEADLINE_SECONDS) as reader:
                now, codes = self._now(), self._state_codes
                state = read_state(reader, self.settings, self._instance, now, state_codes=codes, known=known)
            self.results.append(state if failed is None else Failed(failed, state))
            if time.monotonic() >= self._sweep_due:
                self._database.run(lambda connection: sweep(connection, self._instance), _DEADLINE_SECONDS)
                self._sweep_due = time.monotonic() + _SWEEP_EVERY_SECONDS
        except PersistenceError as error:
            self.results.append(Failed(error))
            return self.retry_seconds
        return self._every_seconds

    def _store_all(self, records: Sequence[AlarmRecord]) -> DatabaseFailed | None:
        """Stores all up to the first that fails, whose error it returns: somebody may have locked its row.

        That one goes last from then on, so it keeps no other from the table. Raises what means that none can be stored.
        """
        before = self._failed_seconds
        self._failed_seconds = {each.id: before[each.id] for each in records if each.id in before}
        for record in sorted(records, key=lambda each: before.get(each.id, 0.0)):
            try:
                self._store(record)
            except DatabaseFailed as error:
                self._failed_seconds[record.id] = time.monotonic()
                return error
            self._failed_seconds.pop(record.id, None)
        return None

    def _store(self, record: AlarmRecord) -> None:
        def work(connection: Connection) -> AlarmRecord:
            stored = store(connection, record)
            self._reached("uncommitted")
            return stored

        self._reached("storing")
        try:
            stored = self._database.run(work, _DEADLINE_SECONDS)
        except RowRefused as error:  # another daemon was quicker, or it holds what no row can: others go on
            _TABLE_LOGGER.warning("alarm %s is not in the table yet: %s", record.id, error)
            return
        self._reached("stored")
        self.results.append(Stored(record, stored))
