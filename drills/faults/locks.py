"""Faults of the database by locks: one held too long, a statement that waits for one cancelled, a deadlock (D2)."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from sqlalchemy import Connection, text

from drills.environment import Environment
from drills.faults.fault import BRIEF_SECONDS, InThread, at_work
from drills.states import State
from persistence.readings.importing import import_readings
from testkit.waiting import becomes_true

LOCK_SECONDS = 0.5
DAEMON_BACKENDS = "datname = 'billingd' AND application_name LIKE 'billingd%'"


@dataclass
class Locked(InThread):
    """Another session's transaction holds a lock for longer than the daemon's lock_timeout."""

    codes: tuple[str, ...] = ("database_error",)
    silence_seconds: float = LOCK_SECONDS
    over: threading.Event = field(default_factory=threading.Event)
    locked: threading.Event = field(default_factory=threading.Event)

    def released(self, env: Environment, state: State) -> None:
        self.met = self.locked.wait(20)

    def end(self, env: Environment) -> None:
        self.over.set()
        super().end(env)

    def work(self, env: Environment) -> None:
        with env.postgres.session() as connection:
            self.lock(env, connection)
            self.locked.set()
            self.over.wait(120)

    def lock(self, env: Environment, connection: Connection) -> None:
        """Takes the lock."""
        connection.execute(text("LOCK TABLE invoices IN SHARE ROW EXCLUSIVE MODE"))


@dataclass
class ImportOpen(Locked):
    """An import of further readings of one user stands between its last statement and its COMMIT.

    Nobody waits for it but what it concerns: that is billed with its data when it is over. There is no alarm.
    """

    codes: tuple[str, ...] = ()
    lasting: bool = False
    lasts_seconds: float = BRIEF_SECONDS
    affects_one: bool = True
    USER: ClassVar = 1

    def unaffected(self, env: Environment) -> list[str]:
        concerned = f"{env.workload.user_id(self.USER)}."
        return [debt for debt in env.debts if not debt.startswith(concerned)]

    def lock(self, env: Environment, connection: Connection) -> None:
        import_readings(connection, env.workload.write_further_readings(env.home / "further.csv", self.USER))


@dataclass
class Cancelled(Locked):
    """A statement of the daemon's that provably runs, since it waits for a lock, is cancelled; once."""

    lasting: bool = False

    def wait(self, env: Environment, state: State) -> None:
        cancel = f"""SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                     WHERE {DAEMON_BACKENDS} AND wait_event_type = 'Lock'"""
        self.met = becomes_true(lambda: env.postgres.rows(cancel), 8)


@dataclass
class Deadlocked(InThread):
    """Locks a table that the daemon's write waits for, then asks for one that this write has locked."""

    lasting: bool = False
    met: bool = False
    can_meet: Callable[[State], bool] = at_work

    def wait(self, env: Environment, state: State) -> None:
        super().end(env)

    def work(self, env: Environment) -> None:
        before = self._deadlocks(env)
        with env.postgres.session() as connection:
            # The daemon's session finds the deadlock first, so the server cancels its statement.
            connection.execute(text("SET LOCAL deadlock_timeout = '20s'"))
            connection.execute(text("SET LOCAL lock_timeout = '10s'"))
            # Every step of an invoice is written to its history, while the invoice's own row is locked.
            connection.execute(text("LOCK TABLE invoice_history IN SHARE ROW EXCLUSIVE MODE"))
            mine = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            waits = f"SELECT 1 FROM pg_stat_activity WHERE {DAEMON_BACKENDS} AND :mine = ANY(pg_blocking_pids(pid))"
            if becomes_true(lambda: env.postgres.rows(waits, mine=mine), 4):
                connection.execute(text("LOCK TABLE invoices IN SHARE ROW EXCLUSIVE MODE"))
        self.met = becomes_true(lambda: self._deadlocks(env) > before, 3)

    @staticmethod
    def _deadlocks(env: Environment) -> int:
        rows = env.postgres.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = 'billingd'")
        return int(rows[0].deadlocks)
