"""The one connection that an actor or a command has to the database: opened on demand, dropped on any doubt."""

import threading
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import sqlalchemy
from pg8000.exceptions import Error as DriverError
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from persistence.errors import DatabaseUnreachable, PersistenceError
from persistence.session import Session, open_socket, tls, translate

__all__ = ["CHANNEL", "ConnectionSettings", "Database", "copy_in", "notify", "try_instance_lock"]

CHANNEL = "billingd"
"""The channel of NOTIFY on which commands nudge the daemons."""

_TLS_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
_COPY_CHUNK_BYTES = 65536
_INSTANCE_LOCKS = 7_240_061
"""Seed of the advisory locks that stand for instance names, so that they meet no one else's."""


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
        """From `postgresql://user@host:port/name?sslmode=…&sslrootcert=…`, or `…@/name?host=/socket/folder`.

        `password` wins over the URL's. Raises ValueError, without the URL in it, since that may hold a password.
        """
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError):
            raise ValueError("not a URL of the form postgresql://user@host:port/name") from None
        if parsed.drivername not in ("postgresql", "postgres"):
            raise ValueError(f"a database URL starts with postgresql://, not {parsed.drivername}://")
        query = {name: value if isinstance(value, str) else value[-1] for name, value in parsed.query.items()}
        folder = query.pop("host", None)
        mode = query.pop("sslmode", "prefer")
        certificate = query.pop("sslrootcert", None)
        if query:
            raise ValueError(f"unknown in the database URL: {', '.join(sorted(query))}")
        if mode not in _TLS_MODES:
            raise ValueError(f"sslmode is one of {', '.join(_TLS_MODES)}, not {mode}")
        if not parsed.username or not parsed.database:
            raise ValueError("a database URL names user and database: postgresql://user@host:port/name")
        port = parsed.port or 5432
        return cls(
            host=parsed.host or "localhost",
            port=port,
            database=parsed.database,
            user=parsed.username,
            password=password if password is not None else parsed.password,
            unix_socket=Path(folder) / f".s.PGSQL.{port}" if folder else None,
            tls_mode="disable" if folder else mode,
            tls_root_certificate=certificate,
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

    Its methods raise the errors of persistence.errors and nothing else of the database's.
    """

    def __init__(self, settings: ConnectionSettings, *, listen: bool = False) -> None:
        self.settings = settings
        self._listen = listen
        self._session: Session | None = None
        self._connection: Connection | None = None
        self._busy = False
        self._unblock_lock = threading.Lock()
        self._engine = sqlalchemy.create_engine("postgresql+pg8000://", creator=self._open_session, poolclass=NullPool)
        event.listen(self._engine, "handle_error", _translate_statement, retval=True)

    @contextmanager
    def transaction(self, deadline_seconds: float | None = None) -> Generator[Connection, None, None]:
        """A transaction: READ COMMITTED, in UTC; committed at the end, rolled back by any exception.

        No statement in it starts, or is waited for by the server, past `deadline_seconds` from now.
        In its SQL write `mod(a, b)` for `a % b`: the percent sign is the driver's.
        Raises DatabaseUnreachable, CredentialsRefused, DatabaseFailed, RowRefused; at its end CommitUnknown.
        """
        with self._used():
            deadline = None if deadline_seconds is None else time.monotonic() + deadline_seconds
            connection, session = self._open()
            session.begin_limits(deadline)
            with connection.begin():
                yield connection

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
    def _alone(self) -> Generator[Session, None, None]:
        with self._used():
            _, session = self._open()
            session.begin_limits(None)
            try:
                yield session
            except DriverError as error:
                raise (session.meaning(error) or error) from error

    def _open(self) -> tuple[Connection, Session]:
        """The connection at hand, or a new one if there is none or the server has left it."""
        if self._session is not None and self._session.is_stale():
            self.close()
        if self._connection is None or self._session is None:
            self.close()
            with self._connecting():
                connection = self._engine.connect()
                if self._listen:
                    with connection.begin():
                        connection.execute(text(f"LISTEN {CHANNEL}"))
                self._connection = connection
        assert self._session is not None
        return self._connection, self._session

    def _open_session(self) -> Session:
        """What SQLAlchemy calls to connect."""
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
        except (DBAPIError, DriverError, OSError) as error:
            cause = cast(Exception, error.orig) if isinstance(error, DBAPIError) else error
            raise (translate(cause, where, connecting=True, committing=False) or error) from error
        except (KeyError, ValueError, AttributeError, IndexError) as error:
            raise DatabaseUnreachable(
                f"what answers at {where} is no PostgreSQL server: check host and port"
            ) from error


def _translate_statement(context: ExceptionContext) -> PersistenceError | None:
    """SQLAlchemy's hook for a failed statement or COMMIT: gives the error to be raised in its place."""
    session = context.connection.connection.dbapi_connection if context.connection is not None else None
    return session.meaning(context.original_exception) if isinstance(session, Session) else None


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


def copy_in(connection: Connection, sql: str, stream: BinaryIO | Iterable[bytes]) -> int:
    """Streams rows into the server with `sql`, a COPY … FROM STDIN; gives their number.

    What reading the stream raises comes out as it is.
    """
    failed: list[OSError] = []  # the session would take one for the connection's

    def chunks() -> Generator[bytes, None, None]:
        source = stream if isinstance(stream, Iterable) and not hasattr(stream, "read") else None
        try:
            if source is not None:
                yield from source
            else:
                read = cast(BinaryIO, stream).read
                yield from iter(lambda: read(_COPY_CHUNK_BYTES), b"")
        except OSError as error:
            failed.append(error)
            raise

    session = connection.connection.dbapi_connection
    assert isinstance(session, Session)
    cursor = session.cursor()
    try:
        # The stream is an extension of the driver, which SQLAlchemy's own interface doesn't know.
        cursor.execute(sql, (), stream=chunks())
    except DriverError as error:
        if failed:
            raise failed[0] from None
        raise (session.meaning(error) or error) from error
    return int(cursor.rowcount)


def notify(connection: Connection, payload: str) -> None:
    """Nudges every listening daemon when the transaction commits; `payload` is ASCII of less than 8000 bytes."""
    connection.execute(text("SELECT pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload})


def try_instance_lock(connection: Connection, name: str) -> bool:
    """Takes, or finds it has, the advisory lock that stands for an instance's name; False: someone else has it.

    It lasts as long as the session, so whoever needs it asks again at each sign of life.
    """
    taken = connection.execute(
        text("SELECT pg_try_advisory_lock(hashtextextended(:name, :seed))"),
        {"name": name, "seed": _INSTANCE_LOCKS},
    )
    return bool(taken.scalar_one())
