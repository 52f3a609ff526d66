"""Faults of the database: off the network (D1), throwing (D2), restored from an older backup (D3)."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import text

from drills.environment import FINISH_SECONDS, REACH_SECONDS, Environment
from drills.faults.fault import BRIEF_SECONDS, Fault, Switched
from drills.faults.locks import DAEMON_BACKENDS, ERROR, Cancelled, Deadlocked, ImportOpen, Locked
from drills.states import State
from persistence.database import Database
from persistence.errors import PersistenceError
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
    lasts_seconds: float = BRIEF_SECONDS
    trap: Trap = "statement"

    def apply(self, env: Environment, state: State) -> None:
        env.proxy.set_trap(self.trap)

    def wait(self, env: Environment) -> None:
        env.proxy.trapped.wait(10)

    def was_met(self, env: Environment) -> bool:
        return env.proxy.trapped.is_set()


@dataclass
class SlotsUsedUp(Fault):
    """Others have all connections that the server gives."""

    codes: tuple[str, ...] = UNREACHABLE
    taken: list[Database] = field(default_factory=list)

    def apply(self, env: Environment, state: State) -> None:
        self._take_all(env)
        env.proxy.cut()
        becomes_true(lambda: not self._daemon_sessions(env), 5)
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

    @staticmethod
    def _daemon_sessions(env: Environment) -> bool:
        return bool(env.postgres.rows_if_there(f"SELECT 1 FROM pg_stat_activity WHERE {DAEMON_BACKENDS}"))


@dataclass
class Ruled(Fault):
    """Statements of the superuser make the daemon's fail; others undo them."""

    codes: tuple[str, ...] = ERROR
    begins: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    thread: threading.Thread | None = None

    def apply(self, env: Environment, state: State) -> None:
        # In a thread: what the daemon holds in this state may make them wait until it goes on.
        self.thread = threading.Thread(target=lambda: env.postgres.execute(*self.begins), daemon=True)
        self.thread.start()
        self.thread.join(0.3)

    def end(self, env: Environment) -> None:
        if self.thread is not None:
            self.thread.join(30)
        env.postgres.execute(*self.ends)


@dataclass
class Terminated(Fault):
    """The daemon's backends are terminated; once."""

    lasting: bool = False
    lasts_seconds: float = BRIEF_SECONDS
    met: bool = False

    def apply(self, env: Environment, state: State) -> None:
        ended = env.postgres.rows(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {DAEMON_BACKENDS}")
        self.met = bool(ended)


REFUSAL = """
CREATE TABLE drill_refused (id text PRIMARY KEY);
GRANT SELECT ON drill_refused TO PUBLIC;
CREATE FUNCTION drill_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state NOT IN (OLD.state, 'held') AND EXISTS (SELECT FROM drill_refused r WHERE r.id = NEW.id) THEN
        RAISE EXCEPTION 'new row for relation "invoices" violates check constraint "drill"'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'drill';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER drill_refuse BEFORE UPDATE ON invoices FOR EACH ROW EXECUTE FUNCTION drill_refuse();
"""


@dataclass
class RowRefusedFault(Fault):
    """A constraint that one row violates at each change of its state: in the end it is held, and the others go on."""

    codes: tuple[str, ...] = ("poison_invoice",)
    silence_seconds: float = 15.0
    affects_one: bool = True
    target: str = ""

    def prepare(self, env: Environment) -> None:
        with env.postgres.session() as connection:
            connection.exec_driver_sql(REFUSAL)
        self.target = env.debts[0]

    def can_meet(self, state: State) -> bool:
        return state.has_work and state.name != "storing_verdict"

    def apply(self, env: Environment, state: State) -> None:
        env.postgres.rows("INSERT INTO drill_refused VALUES (:id) RETURNING id", id=self.target)
        if state.name == "initiated":
            state.after(env)  # the others are to go on

    def end(self, env: Environment) -> None:
        env.postgres.rows("DELETE FROM drill_refused RETURNING id")

    def unaffected(self, env: Environment) -> list[str]:
        return [debt for debt in env.debts if debt != self.target]


@dataclass
class RowRefusesEverything(Fault):
    """A constraint that one row violates whatever is changed of it, even a count: it waits, and the others go on."""

    codes: tuple[str, ...] = ERROR
    silence_seconds: float = 2.0
    affects_one: bool = True
    target: str = ""
    thread: threading.Thread | None = None

    def can_meet(self, state: State) -> bool:
        return state.has_work and state.name != "storing_verdict"

    def apply(self, env: Environment, state: State) -> None:
        self.target = env.debts[0]
        add = f"ALTER TABLE invoices ADD CONSTRAINT drill CHECK (id <> '{self.target}') NOT VALID"
        # In a thread: what the daemon holds in this state may make it wait until it goes on.
        self.thread = threading.Thread(target=lambda: env.postgres.execute(add), daemon=True)
        self.thread.start()
        self.thread.join(0.3)
        if state.name == "initiated":
            state.after(env)  # the others are to go on

    def was_met(self, env: Environment) -> bool:
        return env.states().get(self.target) != "registered"

    def end(self, env: Environment) -> None:
        if self.thread is not None:
            self.thread.join(30)
            env.postgres.execute("ALTER TABLE invoices DROP CONSTRAINT drill")

    def unaffected(self, env: Environment) -> list[str]:
        return [debt for debt in env.debts if debt != self.target]


@dataclass
class DiskFull(Fault):
    """The disk with the invoices' tables is full: a small file system of their own."""

    codes: tuple[str, ...] = ERROR
    folder: Path | None = None

    def prepare(self, env: Environment) -> None:
        folder = env.postgres.home / "small"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
        if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            return
        self.folder = folder
        owner = (env.postgres.home / "postgres" / "data").stat()
        inside = folder / "tables"
        inside.mkdir(mode=0o700)
        os.chown(inside, owner.st_uid, owner.st_gid)
        tables = ("invoices", "invoice_documents", "invoice_history", "erp_exchanges")
        env.postgres.execute(
            f"CREATE TABLESPACE small LOCATION '{inside}'",
            *(f"ALTER TABLE {table} SET TABLESPACE small" for table in tables),
            *(f"ALTER TABLE {table} SET (fillfactor = 10)" for table in tables),
        )

    def can_meet(self, state: State) -> bool:
        return state.has_work and state.name != "storing_verdict" and self.folder is not None

    def apply(self, env: Environment, state: State) -> None:
        if self.folder is not None:
            with (self.folder / "full").open("wb", buffering=0) as file:
                try:
                    while file.write(b"\0" * 4096):
                        pass
                except OSError:
                    return

    def end(self, env: Environment) -> None:
        if self.folder is not None:
            (self.folder / "full").unlink(missing_ok=True)

    def close(self) -> None:
        """The file system goes with the drill."""
        if self.folder is not None:
            subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, check=False)


@dataclass
class Restored(Fault):
    """A backup taken in this state is put back when all has been done; the ERP has everything by then."""

    lasting: bool = False
    lasts_seconds: float = 0.0
    offers_again: bool = True
    while_down: bool = False
    backup: Path | None = None
    state: State | None = None

    def apply(self, env: Environment, state: State) -> None:
        self.backup = env.postgres.home / "backup"
        self.state = state
        env.postgres.back_up(self.backup)

    def wait(self, env: Environment) -> None:
        if self.state is not None and self.state.has_work:
            self.state.after(env)
        env.wait_all_in("registered", FINISH_SECONDS)

    def end(self, env: Environment) -> None:
        assert self.backup is not None, "it struck"
        if self.while_down:
            env.daemon.kill()
        env.postgres.restore(self.backup)
        if self.while_down:
            env.daemon.start()


@dataclass
class RestoredUnderRunningDaemon(Fault):
    """A backup from before the daemon's start is put back while it has work in hand: it does not know the daemon."""

    lasting: bool = False
    offers_again: bool = True
    backup: Path | None = None

    def prepare(self, env: Environment) -> None:
        self.backup = env.postgres.home / "backup"
        env.postgres.back_up(self.backup)

    def apply(self, env: Environment, state: State) -> None:
        assert self.backup is not None, "it was prepared"
        env.postgres.restore(self.backup)

    def wait(self, env: Environment) -> None:
        known = "SELECT 1 FROM instances WHERE ended_at IS NULL"
        wait_until(
            lambda: env.postgres.rows_if_there(known), within_seconds=REACH_SECONDS, what="the daemon registers anew"
        )


def _stopped(mode: signal.Signals) -> Fault:
    return Switched(UNREACHABLE, on=lambda env: env.postgres.stop(mode), off=lambda env: env.postgres.start())


def _lead_to(env: Environment, port: int) -> None:
    env.proxy.target_port = port
    env.proxy.cut()


READ_ONLY = ("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
WRITABLE = ("SET default_transaction_read_only = off", "ALTER SYSTEM RESET default_transaction_read_only",
            "SELECT pg_reload_conf()")  # fmt: skip
RENAMED = ("SET lock_timeout = '20s'", "ALTER TABLE invoices RENAME TO invoices_gone")
NAMED = ("ALTER TABLE invoices_gone RENAME TO invoices",)

D1: dict[str, Callable[[], Fault]] = {
    "stopped_fast": lambda: _stopped(signal.SIGINT),
    "stopped_immediate": lambda: _stopped(signal.SIGQUIT),
    "cut_in_statement": lambda: Trapped(),
    "cut_before_commit": lambda: Trapped(trap="before_commit"),
    "cut_in_commit": lambda: Trapped(trap="commit"),
    "frozen": lambda: Switched(
        UNREACHABLE,
        silence_seconds=ANSWER_SECONDS,
        on=lambda env: env.postgres.freeze(),
        off=lambda env: env.postgres.thaw(),
    ),
    "wrong_port": lambda: Switched(  # there is something else, which is no PostgreSQL server
        UNREACHABLE, on=lambda env: _lead_to(env, env.erp.port), off=lambda env: _lead_to(env, env.postgres.port)
    ),
    "slots_used_up": lambda: SlotsUsedUp(),
}
D2: dict[str, Callable[[], Fault]] = {
    "read_only": lambda: Ruled(begins=READ_ONLY, ends=WRITABLE),
    "privilege_dropped": lambda: Ruled(
        begins=(f"REVOKE UPDATE ON invoices FROM {APP_USER}",), ends=(f"GRANT UPDATE ON invoices TO {APP_USER}",)
    ),
    "locked": lambda: Locked(),
    "import_while_work": lambda: ImportOpen(),
    "deadlock": lambda: Deadlocked(),
    "cancelled": lambda: Cancelled(),
    "terminated": lambda: Terminated(),
    "row_refused": lambda: RowRefusedFault(),
    "row_refuses_everything": lambda: RowRefusesEverything(),
    "table_missing": lambda: Ruled(begins=RENAMED, ends=NAMED),
    "disk_full": lambda: DiskFull(),
}
D3: dict[str, Callable[[], Fault]] = {
    "restored": lambda: Restored(),
    "restored_while_down": lambda: Restored(while_down=True),
    "restored_under_running_daemon": lambda: RestoredUnderRunningDaemon(),
}
