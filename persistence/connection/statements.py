"""Runs statements and reads their rows: the one way, on SQLAlchemy's connection and on a session alone."""

import functools
from collections import namedtuple
from typing import TYPE_CHECKING, Any, TypeAlias

from pg8000.dbapi import convert_paramstyle
from pg8000.exceptions import Error as DriverError

from persistence.connection.session import Session

if TYPE_CHECKING:
    from sqlalchemy import Connection, TextClause

CHANNEL = "billingd"
"""The channel of NOTIFY on which commands nudge the daemons."""


class Reader:
    """A session in a transaction, without SQLAlchemy, which takes longer to import than a person likes to wait."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def fetch(self, sql: str, values: dict[str, object]) -> list[Any]:
        """The rows, as named tuples."""
        numbered, given = convert_paramstyle("named", sql, values)
        try:
            found = self.session.execute_unnamed(numbered, given)
        except DriverError as error:
            raise (self.session.meaning(error) or error) from error
        row = _row_type(tuple(column["name"] for column in found.columns))
        return [row(*each) for each in found.rows]


Source: TypeAlias = "Connection | Reader"


def fetch(source: Source, sql: str, /, **values: object) -> list[Any]:
    """The rows, with the columns as attributes and `_asdict()`; `values` are those of the statement's `:names`.

    This and all below raise the errors of persistence.connection.errors.
    """
    if isinstance(source, Reader):
        return source.fetch(sql, values)
    return list(source.execute(_text(sql), values))


def fetch_dicts(source: Source, sql: str, /, **values: object) -> list[dict[str, Any]]:
    """The rows, by the names of their columns."""
    return [row._asdict() for row in fetch(source, sql, **values)]


def fetch_row(source: Source, sql: str, /, **values: object) -> Any:
    """The first row; None if there is none."""
    return next(iter(fetch(source, sql, **values)), None)


def fetch_column(source: Source, sql: str, /, **values: object) -> list[Any]:
    """The first column."""
    return [row[0] for row in fetch(source, sql, **values)]


def fetch_value(source: Source, sql: str, /, **values: object) -> Any:
    """The first column of the first row; None if there is none."""
    return next(iter(fetch_column(source, sql, **values)), None)


def session_of(source: Source) -> Session:
    """The session at the driver's level."""
    return source.session if isinstance(source, Reader) else source.connection.dbapi_connection  # type: ignore[return-value]


def execute(connection: "Connection", sql: str, /, **values: object) -> int:
    """Runs a statement; returns the number of rows that it has changed."""
    return int(connection.execute(_text(sql), values).rowcount)


def notify(connection: "Connection", payload: str) -> None:
    """Nudges every listening daemon when the transaction commits; `payload` is ASCII of less than 8000 bytes."""
    execute(connection, "SELECT pg_notify(:channel, :payload)", channel=CHANNEL, payload=payload)


@functools.lru_cache(maxsize=512)
def _text(sql: str) -> "TextClause":
    """Read once: SQLAlchemy looks for the names in the whole statement."""
    from sqlalchemy import text  # whoever has a connection has imported it; those that only look must not

    return text(sql)


@functools.lru_cache(maxsize=256)
def _row_type(columns: tuple[str, ...]) -> Any:
    return namedtuple("Row", columns, rename=True)
