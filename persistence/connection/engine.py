"""SQLAlchemy's connection over a session, and what is done with one besides its own statements."""

from collections.abc import Generator, Iterable
from typing import BinaryIO, cast

import sqlalchemy
from pg8000.exceptions import Error as DriverError
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from persistence.connection.database import CHANNEL
from persistence.connection.errors import PersistenceError
from persistence.connection.reader import Reader
from persistence.connection.session import Session

__all__ = ["connect", "copy_in", "notify", "reader", "try_instance_lock"]

_COPY_CHUNK_BYTES = 65536
_INSTANCE_LOCKS = 7_240_061
"""Seed of the advisory locks that stand for instance names, so that they meet no one else's."""


def connect(session: Session) -> Connection:
    """A connection that is this session. Raises the driver's errors."""
    engine = sqlalchemy.create_engine("postgresql+pg8000://", creator=lambda: session, poolclass=NullPool)
    event.listen(engine, "handle_error", _translate_statement, retval=True)
    try:
        return engine.connect()
    except DBAPIError as error:
        raise cast(Exception, error.orig) from error


def reader(connection: Connection) -> Reader:
    """Reads within the connection's transaction."""
    return Reader(_session(connection))


def _session(connection: Connection) -> Session:
    session = connection.connection.dbapi_connection
    assert isinstance(session, Session)
    return session


def _translate_statement(context: ExceptionContext) -> PersistenceError | None:
    """SQLAlchemy's hook for a failed statement or COMMIT: gives the error to be raised in its place."""
    session = context.connection.connection.dbapi_connection if context.connection is not None else None
    return session.meaning(context.original_exception) if isinstance(session, Session) else None


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

    session = _session(connection)
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
