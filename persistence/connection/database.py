"""The one connection that an actor or a command has to the database: opened on demand, dropped on any doubt."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pg8000.exceptions import Error as DriverError

from network.urls import DatabaseUrl
from persistence.connection.errors import DatabaseFailed, DatabaseUnreachable
from persistence.connection.session import Session, open_socket, tls, translate
from persistence.connection.statements import CHANNEL, Reader

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")
# Serialization failure and deadlock: the transaction was rolled back for another's sake, and succeeds when repeated.
TRY_AGAIN = ("40001", "40P01")
TRIES = 5
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class ConnectionSettings:
    """Where the database is, who asks, and how long anything may take; a limit of 0 means none."""

    host: str
    port: int
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    unix_socket: Path | None = None
    tls_mode: str = "prefer"
    tls_root_certificate: str | None = None
    connect_timeout_seconds: float = 5
    statement_timeout_seconds: float = 30
    lock_timeout_seconds: float = 5
    application_name: str = "billingd"

    @classmethod
    def from_url(cls, url: str, *, password: str | None = None, **limits: Any) -> Self:
        """From a URL as `network.urls.DatabaseUrl` describes it; `password` wins over the URL's.

        Raises ValueError, without the URL in it, since that may hold a password.
        """
        parts = DatabaseUrl.parse(url)
        return cls(
            host=parts.host,
            port=parts.port,
            database=parts.database,
            user=parts.user,
            password=parts.password if password is None else password,
            unix_socket=parts.socket_folder and parts.socket_folder / f".s.PGSQL.{parts.port}",
            tls_mode=parts.tls_mode,
            tls_root_certificate=parts.tls_root_certificate,
            **limits,
        )

    @property
    def where(self) -> str:
        """The server and database for messages, without password."""
        return f"{self.unix_socket or f'{self.host}:{self.port}'}/{self.database}"

    def without_limits(self) -> Self:
        """The same without limits of statements and locks: for imports, migrations, verifying, archiving."""
        return replace(self, statement_timeout_seconds=0, lock_timeout_seconds=0)


class Database:
    """One connection, used by one thread at a time; only `unblock` may be called from another.

    Its methods raise the errors of persistence.connection.errors and nothing else of the database's.
    """

    def __init__(self, settings: ConnectionSettings, *, listen: bool = False) -> None:
        self.settings = settings
        self._listen = listen
        self._session: Session | None = None
        self._connection: Connection | None = None
        self._busy = False
        self._listens_anew = False
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
        with self._used():
            session = self._begin(deadline_seconds)
            if self._connection is None:
                # with it comes SQLAlchemy: half of what a command imports
                from persistence.connection.engine import connect

                with self._connecting():
                    self._connection = connect(session)
            with self._connection.begin():
                yield self._connection

    @contextmanager
    def reading(self, deadline_seconds: float | None = None) -> Generator[Reader, None, None]:
        """A transaction that only reads, all of it as of one moment, and without SQLAlchemy.

        The deadline and the errors are those of `transaction`.
        """
        with self._alone(deadline_seconds) as session:
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

    def listens_anew(self) -> bool:
        """Whether the session that listens is another than at the last call: what was said before it is lost."""
        anew, self._listens_anew = self._listens_anew, False
        return anew

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
        if self._session is not None and not self._session.is_stale():
            return self._session
        self.close()
        with self._connecting(), ExitStack() as if_failed:
            if_failed.callback(self.close)
            session = self._open_session()
            if self._listen:
                session.execute_simple(f"LISTEN {CHANNEL}")
                self._listens_anew = True
            if_failed.pop_all()
        return session

    def _open_session(self) -> Session:
        settings = self.settings
        limit = settings.statement_timeout_seconds
        raw = open_socket(settings.unix_socket or (settings.host, settings.port), settings.connect_timeout_seconds)
        session = Session(
            raw,
            settings.where,
            limit,
            user=settings.user,
            password=settings.password or "",
            host=settings.host,
            database=settings.database,
            application_name=settings.application_name,
            ssl_context=tls("disable" if settings.unix_socket else settings.tls_mode, settings.tls_root_certificate),
            startup_params=_session_parameters(settings),
        )
        with self._unblock_lock:
            self._session = session
        return session

    @contextmanager
    def _connecting(self) -> Generator[None, None, None]:
        """Turns whatever a connection fails with into our errors."""
        where = self.settings.where
        try:
            yield
        except (DriverError, OSError) as error:
            raise (translate(error, where, connecting=True, committing=False) or error) from error
        except (KeyError, ValueError, AttributeError, IndexError) as error:
            raise DatabaseUnreachable(
                f"what answers at {where} is no PostgreSQL server: check host and port"
            ) from error


def _session_parameters(settings: ConnectionSettings) -> dict[str, str]:
    """What each session asks of the server at its start."""
    parameters = {
        "timezone": "UTC",
        # The estimates right after an import are far above what a month of one meter costs.
        "jit": "off",
        "statement_timeout": _milliseconds(settings.statement_timeout_seconds),
        "lock_timeout": _milliseconds(settings.lock_timeout_seconds),
        "default_transaction_isolation": "read committed",
        # Whatever the server is set to: a crash of it may not take back the `sent` that an offer has left under.
        "synchronous_commit": "on",
        # The server, too, finds out within about 15 s that we are gone, and gives our locks up.
        "tcp_keepalives_idle": "5",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "2",
        "tcp_user_timeout": "15000",
    }
    if settings.statement_timeout_seconds:
        # A daemon that is frozen within a transaction doesn't keep its locks from the others for ever.
        idle = settings.statement_timeout_seconds + 30
        parameters["idle_in_transaction_session_timeout"] = _milliseconds(idle)
    return parameters


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000)) if seconds == 0 else str(max(1, round(seconds * 1000)))
