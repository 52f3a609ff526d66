"""The control room's way to the database: short errands in threads of their own, so that no page waits for long."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection

from config.secrets import SecretUnreadable
from persistence.database import Database
from persistence.errors import PersistenceError

ERRANDS_AT_MOST = 2
"""Under way at once: a database that hangs holds so many threads and connections, and no more."""
STATEMENT_SECONDS = 3.0
ANSWER_SECONDS = 4.0

T = TypeVar("T")


class Unavailable(Exception):  # noqa: N818 - it says what happened
    """The database gave no answer, or one that is none; the message is for people."""


class Errands:
    """Runs what needs the database; to be used from one event loop."""

    def __init__(self, connect: Callable[[str], Database]) -> None:
        self._connect = connect
        self._under_way = 0

    async def run(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, done in one transaction. Raises Unavailable, and whatever `work` raises."""
        if self._under_way >= ERRANDS_AT_MOST:
            raise Unavailable("the database keeps others waiting already")
        self._under_way += 1
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
            except Exception as error:  # noqa: BLE001 - whoever sent it on its way raises it
                give, what = answer.set_exception, error
            with contextlib.suppress(RuntimeError):  # the endpoint has ended meanwhile
                loop.call_soon_threadsafe(settle, give, what)

        threading.Thread(target=go, name="room", daemon=True).start()
        try:
            return await asyncio.wait_for(answer, ANSWER_SECONDS)
        except TimeoutError as error:
            for database in opened:
                database.unblock()
            raise Unavailable("the database gives no answer") from error
        except (PersistenceError, SecretUnreadable) as error:
            raise Unavailable(str(error)) from error
