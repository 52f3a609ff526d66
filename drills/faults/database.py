"""Faults of the database: off the network (D1), throwing (D2), restored from an older backup (D3)."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import text

from drills.environment import REACH_SECONDS, Environment
from drills.faults.fault import BRIEF_SECONDS, Fault, SmallDisk, Statements, Switched, before_verdict, finish
from drills.faults.locks import DAEMON_BACKENDS, LOCKS
from drills.states import State
from persistence.connection.database import Database
from persistence.connection.errors import PersistenceError
from testkit.postgres import APP_USER
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


def _stopped(mode: signal.Signals) -> Fault:
    return Switched(UNREACHABLE, on=lambda env: env.postgres.stop(mode), off=lambda env: env.postgres.start())


def _lead_to(env: Environment, port: int) -> None:
    env.proxy.target_port = port
    env.proxy.cut()


READ_ONLY = ("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
WRITABLE = ("SET default_transaction_read_only = off", "ALTER SYSTEM RESET default_transaction_read_only",
            "SELECT pg_reload_conf()")  # fmt: skip
RENAMED = ("SET lock_timeout = '20s'", "ALTER TABLE invoices RENAME TO invoices_gone")
NAMED = ("ALTER TABLE IF EXISTS invoices_gone RENAME TO invoices",)

D1: dict[str, Callable[[], Fault]] = {
    "stopped_fast": lambda: _stopped(signal.SIGINT),
    "stopped_immediate": lambda: _stopped(signal.SIGQUIT),
    "cut_in_statement": Trapped,
    "cut_before_commit": lambda: Trapped(trap="before_commit"),
    "cut_in_commit": lambda: Trapped(trap="commit"),
    "frozen": lambda: Switched(
        UNREACHABLE, silence_seconds=ANSWER_SECONDS, on=lambda e: e.postgres.freeze(), off=lambda e: e.postgres.thaw()
    ),
    "wrong_port": lambda: Switched(  # there is something else, which is no PostgreSQL server
        UNREACHABLE, on=lambda env: _lead_to(env, env.erp.port), off=lambda env: _lead_to(env, env.postgres.port)
    ),
    "slots_used_up": SlotsUsedUp,
}
D2: dict[str, Callable[[], Fault]] = {
    "read_only": lambda: Statements(UNREACHABLE, begins=READ_ONLY, ends=WRITABLE),
    "privilege_dropped": lambda: Statements(
        begins=(f"REVOKE UPDATE ON invoices FROM {APP_USER}",), ends=(f"GRANT UPDATE ON invoices TO {APP_USER}",)
    ),
    **LOCKS,
    "terminated": Terminated,
    # One row violates a constraint at each change of its state: in the end it is held, and the others go on.
    "row_refused": lambda: Statements(
        ("poison_invoice",),
        silence_seconds=15.0,
        affects_one=True,
        can_meet=before_verdict,
        setup=Path(__file__).with_name("refuse_row.sql").read_text("utf-8"),
        begins=("INSERT INTO drill_refused VALUES ('{target}')",),
        ends=("DELETE FROM drill_refused",),
    ),
    "row_refuses_everything": lambda: RowRefusesEverything(
        silence_seconds=2.0,
        affects_one=True,
        can_meet=before_verdict,
        begins=("ALTER TABLE invoices ADD CONSTRAINT drill CHECK (id <> '{target}') NOT VALID",),
        ends=("ALTER TABLE invoices DROP CONSTRAINT IF EXISTS drill",),
    ),
    "table_missing": lambda: Statements(begins=RENAMED, ends=NAMED),
    "disk_full": DiskFull,
}
D3: dict[str, Callable[[], Fault]] = {
    "restored": Restored,
    "restored_while_down": lambda: Restored(while_down=True),
    "restored_under_running_daemon": RestoredUnderRunningDaemon,
}
