"""What two sessions on one database do to each other: work in a thread of its own, and whether it waits for a lock."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from sqlalchemy import Connection, text

from persistence.connection.database import ConnectionSettings, Database
from testkit.waiting import wait_until

T = TypeVar("T")


class Session(Generic[T]):
    """A transaction under way in its own session and thread, tried again after deadlocks as the commands do it."""

    def __init__(self, settings: ConnectionSettings, work: Callable[[Connection], T], name: str = "session") -> None:
        self._settings = replace(settings, application_name=name)
        self._work = work
        self._results: list[T] = []
        self._failures: list[BaseException] = []
        self.tries = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with Database(self._settings) as own:
                self._results.append(own.run(self._try))
        except BaseException as error:  # noqa: BLE001 - the test that asks for the result raises it
            self._failures.append(error)

    def _try(self, connection: Connection) -> T:
        self.tries += 1
        return self._work(connection)

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def result(self, within_seconds: float = 30.0) -> T:
        """What the work returned, once it is committed; raises what it raised."""
        self._thread.join(within_seconds)
        assert self.ended, f"not within {within_seconds} s"
        if self._failures:
            raise self._failures[0]
        return self._results[0]


def waits_for_a_lock(observer: Database, name: str) -> bool:
    """Whether the session of this name waits for a lock just now."""
    with observer.transaction() as connection:
        return bool(
            connection.execute(
                text("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = :name"
                     " AND wait_event_type = 'Lock' AND datname = current_database())"),
                {"name": name},
            ).scalar_one()
        )  # fmt: skip


def until_it_waits(observer: Database, name: str) -> None:
    """Returns once the session of this name waits for a lock."""
    wait_until(lambda: waits_for_a_lock(observer, name), within_seconds=20, every_seconds=0.01)
