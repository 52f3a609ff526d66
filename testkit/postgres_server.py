"""A real PostgreSQL server for tests, which they may stop, kill and freeze."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

from sqlalchemy import text

from persistence.database import ConnectionSettings, Database
from persistence.embedded import EmbeddedServer
from persistence.migrate import upgrade
from testkit.ports import free_port

_OPTIONS = {"listen_addresses": "127.0.0.1", "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


class PostgresServer:
    """One server with the migrated database `billingd`, reached by TCP; `home` is its own folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.embedded = EmbeddedServer(home, _OPTIONS | {"port": str(self.port)})

    @classmethod
    def make(cls, home: Path) -> "PostgresServer":
        """Makes a cluster, migrates it and leaves it running."""
        server = cls(home)
        server.start()
        with Database(server.settings()) as database:
            upgrade(database)
        return server

    @classmethod
    def copy(cls, template: Path, home: Path) -> "PostgresServer":
        """Starts a copy of the cluster of a server that is stopped."""
        shutil.copytree(template, home)
        server = cls(home)
        server.start()
        return server

    def start(self) -> None:
        """Starts it; harmless while it runs."""
        self.embedded.start_or_adopt()

    def stop(self, mode: signal.Signals = signal.SIGINT) -> None:
        """Stops it: SIGINT is PostgreSQL's fast, SIGQUIT its immediate shutdown, SIGKILL none. Waits for the end."""
        pid = self.embedded.pid
        if pid is None:
            return
        if mode == signal.SIGKILL:  # of all at once, as when the plug is pulled: nobody may see another die
            _signal(pid, signal.SIGSTOP)
            for process in self._children(pid):
                _signal(process, mode)
        _signal(pid, mode)
        self.embedded.stop()

    def freeze(self) -> None:
        """Stops the server and all its backends from running, as SIGSTOP does."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets what was frozen go on."""
        self._signal_all(signal.SIGCONT)

    def destroy(self) -> None:
        """Ends it, whatever state a test left it in, and removes its files."""
        self.thaw()
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.home)

    def settings(self, database: str = "billingd") -> ConnectionSettings:
        """How the owner of the database connects."""
        return ConnectionSettings.from_url(self.url(database))

    def url(self, database: str = "billingd") -> str:
        """The same as a URL, with the password in it."""
        password = self.embedded.settings().password
        return f"postgresql://billingd:{password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str, template: str = "billingd") -> str:
        """Makes a database like `template`, to which nobody may be connected; gives its URL."""
        with self._maintenance() as database:
            database.run_alone(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drops a database, ending whoever is connected to it."""
        with self._maintenance() as database:
            database.run_alone(f"DROP DATABASE {name} WITH (FORCE)")

    def terminate_backends(self, database: str = "billingd") -> int:
        """Ends the sessions of a database; gives their number."""
        with self._maintenance() as maintenance, maintenance.transaction() as connection:
            ended = connection.execute(
                text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name"),
                {"name": database},
            )
            return len(ended.all())

    def _maintenance(self) -> Database:
        return Database(replace(self.settings("postgres"), application_name="test"))

    def _signal_all(self, number: signal.Signals) -> None:
        pid = self.embedded.pid
        for process in [] if pid is None else [pid, *self._children(pid)]:
            _signal(process, number)

    @staticmethod
    def _children(pid: int) -> list[int]:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _signal(process: int, number: signal.Signals) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return  # it ended by itself
