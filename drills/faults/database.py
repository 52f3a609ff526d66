"""Faults of the database: off the network (D1), throwing (D2), restored from an older backup (D3)."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import text

from drills.environment import REACH_SECONDS, Environment
from drills.faults.fault import BRIEF_SECONDS, Fault, SmallDisk, Statements, before_verdict, finish
from drills.faults.locks import DAEMON_BACKENDS
from drills.states import State
from persistence.connection.database import Database
from persistence.connection.errors import PersistenceError
from testkit.proxy import Trap
from testkit.waiting import becomes_true, wait_until

UNREACHABLE = ("database_unreachable",)
# The statement's own limit and the client's grace behind it.
ANSWER_SECONDS = 2.0 + 5.0


@dataclass
class Trapped(Fault):
    """The connection is cut once: in the middle of a statement, before COMMIT arrives, or before its answer does."""

    lasting: bool = False
    trap: Trap = "statement"

    def apply(self, env: Environment, state: State) -> None:
        env.proxy.set_trap(self.trap)

    def wait(self, env: Environment, state: State) -> None:
        self.met = env.proxy.trapped.wait(10)


@dataclass
class SlotsUsedUp(Fault):
    """Others have all connections that the server gives."""

    codes: tuple[str, ...] = UNREACHABLE
    taken: list[Database] = field(default_factory=list)

    def apply(self, env: Environment, state: State) -> None:
        sessions = f"SELECT 1 FROM pg_stat_activity WHERE {DAEMON_BACKENDS}"
        self._take_all(env)
        env.proxy.cut()
        becomes_true(lambda: not env.postgres.rows_if_there(sessions), 5)
        self._take_all(env)

    def end(self, env: Environment) -> None:
        for database in self.taken:
            database.close()
        self.taken.clear()

    def _take_all(self, env: Environment) -> None:
        while True:
            database = Database(env.postgres.app_settings())
            try:
                with database.transaction() as connection:
                    connection.execute(text("SELECT 1"))
            except PersistenceError:
                return
            self.taken.append(database)


@dataclass
class Terminated(Fault):
    """The daemon's backends are terminated; once."""

    lasting: bool = False
    lasts_seconds: float = BRIEF_SECONDS

    def apply(self, env: Environment, state: State) -> None:
        ended = env.postgres.rows(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {DAEMON_BACKENDS}")
        self.met = bool(ended)


class RowRefusesEverything(Statements):
    """A constraint that one row violates whatever is changed of it, even a count: it waits, and the others go on."""

    def was_met(self, env: Environment) -> bool:
        return env.states().get(self.target) != "registered"


@dataclass
class DiskFull(SmallDisk):
    """The disk with the tables of invoices and imports is full."""

    codes: tuple[str, ...] = ("database_error",)
    can_meet: Callable[[State], bool] = lambda state: before_verdict(state) or state.name == "arriving"

    def folder(self, env: Environment) -> Path:
        folder = env.postgres.home / "small"
        folder.mkdir()
        return folder

    def prepare(self, env: Environment) -> None:
        super().prepare(env)
        if self.mounted is None:
            return
        owner = (env.postgres.home / "postgres" / "data").stat()
        inside = self.mounted / "tables"
        inside.mkdir(mode=0o700)
        os.chown(inside, owner.st_uid, owner.st_gid)
        tables = ("invoices", "invoice_documents", "invoice_history", "erp_exchanges", "imports")
        env.postgres.execute(
            f"CREATE TABLESPACE small LOCATION '{inside}'",
            *(f"ALTER TABLE {table} SET TABLESPACE small" for table in tables),
            *(f"ALTER TABLE {table} SET (fillfactor = 10)" for table in tables),
        )


@dataclass
class Restored(Fault):
    """A backup taken in this state is put back when all has been done; the ERP has everything by then."""

    lasting: bool = False
    while_down: bool = False

    def apply(self, env: Environment, state: State) -> None:
        env.postgres.back_up(_backup(env))

    def wait(self, env: Environment, state: State) -> None:
        finish(env, state)

    def end(self, env: Environment) -> None:
        if self.while_down:
            env.daemon.kill()
        env.postgres.restore(_backup(env))
        if self.while_down:
            env.daemon.start()


@dataclass
class RestoredUnderRunningDaemon(Fault):
    """A backup from before the daemon's start is put back while it has work in hand: it does not know the daemon."""

    lasting: bool = False

    def prepare(self, env: Environment) -> None:
        env.postgres.back_up(_backup(env))

    def apply(self, env: Environment, state: State) -> None:
        env.postgres.restore(_backup(env))

    def wait(self, env: Environment, state: State) -> None:
        known = "SELECT 1 FROM instances WHERE ended_at IS NULL"
        wait_until(
            lambda: env.postgres.rows_if_there(known), within_seconds=REACH_SECONDS, what="the daemon registers anew"
        )


def _backup(env: Environment) -> Path:
    return env.postgres.home / "backup"


def lead_to_erp(env: Environment) -> None:
    """Connections to the database end at something else."""
    env.proxy.target_port = env.erp.port
    env.proxy.cut()


def lead_to_database(env: Environment) -> None:
    env.proxy.target_port = env.postgres.port
    env.proxy.cut()
