"""Faults of the database by locks: one held too long, a statement that waits for one cancelled, a deadlock (D2)."""

import threading
from dataclasses import dataclass, field
from typing import ClassVar

from sqlalchemy import text

from drills.faults import BRIEF_SECONDS, Fault
from drills.stage import Stage
from drills.states import State
from persistence.errors import PersistenceError
from testkit.waiting import becomes_true, pause, wait_until

ERROR = ("database_error",)
LOCK_SECONDS = 0.5
DAEMON_BACKENDS = "datname = 'billingd' AND application_name LIKE 'billingd%'"


@dataclass
class Locked(Fault):
    """Somebody else's transaction holds a lock for longer than the daemon's lock_timeout."""

    codes: tuple[str, ...] = ERROR
    silence_seconds: float = LOCK_SECONDS
    met: bool = False
    over: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    locked: threading.Event = field(default_factory=threading.Event)

    def strike(self, stage: Stage, state: State) -> None:
        self.thread = threading.Thread(target=self._hold, args=(stage,), daemon=True)
        self.thread.start()

    def released(self, stage: Stage, state: State) -> None:
        self.met = self.locked.wait(20)

    def end(self, stage: Stage) -> None:
        self.over.set()
        if self.thread is not None:
            self.thread.join(30)

    def _hold(self, stage: Stage) -> None:
        with stage.postgres.session() as connection:
            connection.execute(text("LOCK TABLE invoices IN SHARE ROW EXCLUSIVE MODE"))
            self.locked.set()
            self.over.wait(120)


@dataclass
class Cancelled(Locked):
    """A statement of the daemon's that provably runs, since it waits for a lock, is cancelled; once."""

    codes: tuple[str, ...] = ()
    lasting: bool = False

    def stand(self, stage: Stage) -> None:
        cancel = f"""SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                     WHERE {DAEMON_BACKENDS} AND wait_event_type = 'Lock'"""
        self.met = becomes_true(lambda: stage.postgres.rows(cancel), 8)


@dataclass
class Deadlocked(Fault):
    """A row lock is held that the daemon's write waits for, then one is asked for that this write holds."""

    GATHERED: ClassVar = ("storing", "calculated", "sending_before", "sending_after")

    lasting: bool = False
    met: bool = False
    thread: threading.Thread | None = None

    def can_be_met(self, state: State) -> bool:
        return state.name in ("due", "calculating", *self.GATHERED)

    def strike(self, stage: Stage, state: State) -> None:
        if state.name in self.GATHERED:
            stage.failpoints.enable("courier.answered", "hold 0")
        else:
            self._begin(stage)

    def release(self, stage: Stage, state: State) -> None:
        if state.name != "sending_after":  # where the couriers are held already
            state.release(stage)

    def released(self, stage: Stage, state: State) -> None:
        """One write has to change several rows: the couriers' answers are let go together."""
        if state.name not in self.GATHERED:
            return
        failpoints = stage.failpoints
        wait_until(
            lambda: failpoints.reached("courier.answered") >= len(stage.debts),
            what="all have been answered",
        )
        self._begin(stage)
        failpoints.enable("db_writer.receive", "hold 0")
        failpoints.disable("courier.answered")
        wait_until(lambda: failpoints.reached("db_writer.receive"), what="the db_writer is held")
        pause(BRIEF_SECONDS)
        failpoints.disable("db_writer.receive")

    def _begin(self, stage: Stage) -> None:
        self.thread = threading.Thread(target=self._entangle, args=(stage,), daemon=True)
        self.thread.start()
        self.thread.join(0.2)

    def stand(self, stage: Stage) -> None:
        if self.thread is not None:
            self.thread.join(30)

    def _entangle(self, stage: Stage) -> None:
        try:
            before = self._deadlocks(stage)
            with stage.postgres.session() as connection:
                # The daemon's is the one that finds the deadlock, and so the one that the server lets down.
                connection.execute(text("SET LOCAL deadlock_timeout = '20s'"))
                connection.execute(text("SET LOCAL lock_timeout = '3s'"))
                last, first = stage.debts[-1], stage.debts[0]
                row = text("SELECT id FROM invoices WHERE id = :id FOR UPDATE")
                connection.execute(row, {"id": last})
                mine = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
                waits = f"SELECT 1 FROM pg_stat_activity WHERE {DAEMON_BACKENDS} AND :mine = ANY(pg_blocking_pids(pid))"
                if becomes_true(lambda: stage.postgres.rows(waits, mine=mine), 4):
                    connection.execute(row, {"id": first})
            self.met = becomes_true(lambda: self._deadlocks(stage) > before, 3)
        except PersistenceError:
            return

    @staticmethod
    def _deadlocks(stage: Stage) -> int:
        rows = stage.postgres.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = 'billingd'")
        return int(rows[0].deadlocks)
