"""SQLAlchemy's connection over a session, and COPY, which it doesn't know."""

from collections.abc import Generator, Iterable
from typing import BinaryIO, cast

import sqlalchemy
from pg8000.exceptions import Error as DriverError
from sqlalchemy import Connection, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from persistence.connection.errors import PersistenceError
from persistence.connection.session import Session
from persistence.connection.statements import session_of

_COPY_CHUNK_BYTES = 65536


def connect(session: Session) -> Connection:
    """A connection that is this session. Raises the driver's errors."""
    engine = sqlalchemy.create_engine("postgresql+pg8000://", creator=lambda: session, poolclass=NullPool)
    event.listen(engine, "handle_error", _translate_statement, retval=True)
    try:
        return engine.connect()
    except DBAPIError as error:
        raise cast(Exception, error.orig) from error


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

    session = session_of(connection)
    cursor = session.cursor()
    try:
        # The stream is an extension of the driver, which SQLAlchemy's own interface doesn't know.
        cursor.execute(sql, (), stream=chunks())
    except DriverError as error:
        if failed:
            raise failed[0] from None
        raise (session.meaning(error) or error) from error
    return int(cursor.rowcount)
