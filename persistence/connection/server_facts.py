"""What the database server says of itself."""

from typing import Any

from sqlalchemy import Connection

from persistence.connection.statements import fetch_column, fetch_row, fetch_value
from persistence.sql import Queries

_SQL = Queries(__file__)


def server_facts(connection: Connection) -> Any:
    """Its `version` and the `major` one, `encoding`, `now`, and its `free` connections."""
    return fetch_row(connection, _SQL.server)


def moved_collation_keys(connection: Connection, major: int) -> list[str] | None:
    """Which indexed text has an order that the operating system, upgraded, has changed; None if it has changed none.

    Before PostgreSQL 15 a database doesn't know by which version its order was made.
    """
    if major < 15 or not fetch_value(connection, _SQL.collation_moved):
        return None
    return fetch_column(connection, _SQL.sorted_keys)
