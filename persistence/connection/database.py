"""The one connection that an actor or a command has to the database: opened on demand, dropped on any doubt."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Self, TypeVar

from pg8000.exceptions import Error as DriverError

from persistence.connection.errors import DatabaseFailed
from persistence.connection.opening import connecting, open_session
from persistence.connection.seen_server import SeenServer
from persistence.connection.session import Heartbeat, Session
from persistence.connection.settings import ConnectionSettings
from persistence.connection.statements import CHANNEL, Reader

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["ConnectionSettings", "Database"]

T = TypeVar("T")
# Serialization failure and deadlock: the transaction was rolled back for another's sake, and succeeds when repeated.
TRY_AGAIN = ("40001", "40P01")
TRIES = 5
POLL_SECONDS = 10.0
_PAUSE_SECONDS = 0.05


class Database:
    """One connection, used by one thread at a time; only `unblock` may be called from another.

    Its methods raise the errors of persistence.connection.errors and nothing else of the database's.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        listen: bool = False,
        heartbeat: Heartbeat | None = None,
        seen_server: SeenServer | None = None,
        timed: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """`heartbeat` is told of each statement, and again while its answer is waited for (`Session.heartbeat`).

        Each transaction runs within a `timed()`.
        """
        self.settings = settings
        self.sessions = 0
        """How many it has opened: each may have come to another server."""
        self._heartbeat = heartbeat
        self._timed = timed
        self._seen_server = seen_server
        self._listen = listen
        self._session: Session | None = None
        self._connection: Connection | None = None
        self._busy = False
        self._listens_anew = self._was_lent = False
        self._next_poll = float("-inf")
        self._unblock_lock = threading.Lock()

    def run(self, work: "Callable[[Connection], T]", deadline_seconds: float | None = None) -> T:
        """Runs `work` in a transaction and returns its result; after a deadlock it runs again, up to five times in all.

        So `work` may have no effect but on its connection. The deadline holds for all tries together.
        Raises as `transaction` does, with the last try's deadlock as DatabaseFailed.
        """
        deadline = None if deadline_seconds is None else time.monotonic() + deadline_seconds
        for attempt in range(1, TRIES + 1):
            try:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                with self.transaction(left) as connection:
                    result = work(connection)
            except DatabaseFailed as error:
                if error.sqlstate not in TRY_AGAIN or attempt == TRIES:
                    raise
                threading.Event().wait(_PAUSE_SECONDS * attempt)
            else:
                return result
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def transaction(self, deadline_seconds: float | None = None) -> Generator["Connection", None, None]:
        """A transaction: READ COMMITTED, in UTC; committed at the end, rolled back by any exception.

        No statement in it starts, or is waited for by the server, past `deadline_seconds` from now.
        In its SQL write `mod(a, b)` for `a % b`: the percent sign is the driver's.
        Raises DatabaseUnreachable, CredentialsRefused, DatabaseFailed, RowRefused; at its end CommitUnknown.
        """
        with self._used(), self._timed():
            session = self._begin(deadline_seconds)
            if self._connection is None:
                # with it comes SQLAlchemy: half of what a command imports
                from persistence.connection.engine import connect

                with connecting(session.where):
                    self._connection = connect(session)
            with self._connection.begin():
                yield self._connection

    @contextmanager
    def reading(self, deadline_seconds: float | None = None) -> Generator[Reader, None, None]:
        """A transaction that only reads, all of it as of one moment, and without SQLAlchemy.

        The deadline and the errors are those of `transaction`.
        """
        with self._timed(), self._alone(deadline_seconds) as session:
            session.execute_simple("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                yield Reader(session)
            finally:
                session.rollback()

    def run_alone(self, sql: str) -> None:
        """Runs one statement that PostgreSQL allows in no transaction, as CREATE DATABASE and VACUUM are.

        Raises as `transaction` does.
        """
        with self._alone() as session:
            session.execute_simple(sql)

    def refuse_shared_backend(self) -> bool:
        """Whether a pooler passes the session on whole; False without one.

        Raises ServerUnsuitable if it lends this session's backend to others between its transactions: settings, LISTEN
        and advisory locks would be lost. Behind a pooler it opens a second session for a moment.
        Raises as `transaction` does.
        """
        with self._alone() as session:
            self._compare_backends(session)
            return session.is_pooled

    def notifications(self, wait_seconds: float = 0) -> list[str]:
        """The payloads of the NOTIFYs since last time, waiting at most so long if there is none yet.

        Only a Database made with `listen=True` gets any. Raises as `transaction` does.
        """
        with self._alone() as session:
            if not session.notifications and session.has_news(wait_seconds):
                session.execute_simple("")  # an empty query makes the driver read what came
            payloads = [payload for _, _, payload in session.notifications]
            session.notifications.clear()
        return payloads

    def nudged(self) -> bool:
        """Whether there may have been a NOTIFY since last time: a new session has missed some.

        Without `listen` it may be so once in POLL_SECONDS. Raises as `transaction` does.
        """
        if self._listen:
            notified = bool(self.notifications())
            anew, self._listens_anew = self._listens_anew, False
            return notified or anew
        due = time.monotonic() >= self._next_poll
        if due:
            self._next_poll = time.monotonic() + POLL_SECONDS
        return due

    def unblock(self) -> None:
        """Ends what another thread waits for on this connection: it gets DatabaseUnreachable at once."""
        with self._unblock_lock:
            if self._session is not None:
                self._session.unblock()

    def close(self) -> None:
        """Drops the connection; the next use opens another. Never fails, never waits."""
        with self._unblock_lock:
            connection, self._connection = self._connection, None
            session, self._session = self._session, None
        if session is not None:
            session.close()
        if connection is not None:
            connection.invalidate()
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _used(self) -> Generator[None, None, None]:
        if self._busy:
            raise RuntimeError("this Database is in a transaction already")
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
            if self._session is not None and not self._session.is_reusable:
                self._was_lent |= self._session.was_lent
                self.close()

    @contextmanager
    def _alone(self, deadline_seconds: float | None = None) -> Generator[Session, None, None]:
        with self._used():
            session = self._begin(deadline_seconds)
            try:
                yield session
            except DriverError as error:
                raise (session.meaning(error) or error) from error

    def _begin(self, deadline_seconds: float | None) -> Session:
        """The session, its limits started; the deadline counts from here, so connecting is part of it."""
        deadline = None if deadline_seconds is None else time.monotonic() + deadline_seconds
        session = self._open()
        session.begin_limits(deadline)
        return session

    def _open(self) -> Session:
        """The session at hand, or a new one if there is none or the server has left it."""
        if self._session is not None and not self._session.is_stale() and not self._is_outdated(self._session):
            return self._session
        self.close()
        with ExitStack() as if_failed:
            if_failed.callback(self.close)
            session = open_session(self.settings, self._seen_server)
            self.sessions += 1
            session.heartbeat = self._heartbeat
            with self._unblock_lock:
                self._session = session
            if self._listen:
                with connecting(session.where):
                    session.execute_simple(f"LISTEN {CHANNEL}")
                    session.channels = frozenset((CHANNEL,))
                self._listens_anew = True
            if self._was_lent:
                with connecting(session.where):
                    self._compare_backends(session)
                self._was_lent = False
            if_failed.pop_all()
        return session

    def _compare_backends(self, session: Session) -> None:
        if session.is_pooled:
            with closing(open_session(self.settings)) as other:
                backend, *_ = session.set_up("SELECT pg_backend_pid()")
                session.refuse_other_backend(0 if other.backend == session.backend else backend, session.channels)

    def _is_outdated(self, session: Session) -> bool:
        """Whether another connection has come to a later primary than this session's."""
        return self._seen_server is not None and self._seen_server.is_newer(session.timeline)
