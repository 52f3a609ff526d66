"""The control room's database queries, each in a short-lived thread, so that no page waits long."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection

from config.secrets import SecretUnreadable
from persistence.connection.database import Database
from persistence.connection.errors import PersistenceError

QUERIES_AT_MOST = 2
"""At the same time: a database that hangs holds no more threads and connections than this."""
STATEMENT_SECONDS = 3.0
ANSWER_SECONDS = 4.0

T = TypeVar("T")


class DatabaseUnavailable(Exception):  # noqa: N818 - it says what happened
    """The database gave no answer, or one that is none; the message is for people."""


class BackgroundQueries:
    """Runs queries in threads; to be used from one event loop."""

    def __init__(self, connect: Callable[[str], Database]) -> None:
        self._connect = connect
        self._under_way = 0

    async def run(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, done in one transaction. Raises DatabaseUnavailable, and whatever `work` raises."""
        if self._under_way >= QUERIES_AT_MOST:
            raise DatabaseUnavailable("the database keeps others waiting already")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        opened: list[Database] = []

        def settle(give: Callable[[Any], None], what: Any) -> None:
            self._under_way -= 1
            if not answer.done():
                give(what)

        def go() -> None:
            give: Callable[[Any], None] = answer.set_result
            what: Any
            try:
                with self._connect("control room") as database:
                    opened.append(database)
                    what = database.run(work, STATEMENT_SECONDS)
            except Exception as error:  # noqa: BLE001 - it is raised where the query is awaited
                give, what = answer.set_exception, error
            with contextlib.suppress(RuntimeError):  # the endpoint has ended meanwhile
                loop.call_soon_threadsafe(settle, give, what)

        try:
            threading.Thread(target=go, name="room", daemon=True).start()
        except RuntimeError as error:  # no more threads to be had
            raise DatabaseUnavailable(f"no thread can be started for it: {error}") from error
        self._under_way += 1  # the thread can't settle before: that waits for this loop
        try:
            return await asyncio.wait_for(answer, ANSWER_SECONDS)
        except TimeoutError as error:
            for database in opened:
                database.unblock()
            raise DatabaseUnavailable("the database gives no answer") from error
        except (PersistenceError, SecretUnreadable) as error:
            raise DatabaseUnavailable(str(error)) from error
