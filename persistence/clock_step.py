"""What a database's clock leaves behind when it is set back: instants ahead of it, for which the work would wait."""

from datetime import datetime

from sqlalchemy import Connection

from persistence.connection.statements import execute, fetch_value
from persistence.sql import Queries

ROWS_AT_MOST = 2000
"""How many invoices one call changes, so that it ends soon; the rest is for the next one."""

CLOCKS_APART_SECONDS = 3600.0
"""Further apart, one of the two clocks is wrong, and nobody knows which (docs/spec/failures.md, "Clock steps")."""

_SQL = Queries(__file__, ROWS_AT_MOST=ROWS_AT_MOST)


def database_now(connection: Connection) -> datetime:
    """The instant at which this transaction began, by the database's clock."""
    now: datetime = fetch_value(connection, "SELECT now()")
    return now


def clock_seconds(connection: Connection) -> float:
    """The database's clock now, in seconds since 1970."""
    return float(fetch_value(connection, "SELECT extract(epoch FROM clock_timestamp())::float8"))


def clocks_agree(connection: Connection, wall: datetime) -> bool:
    """Whether the database's clock and `wall`, this machine's, are near enough to say which months are over."""
    return abs(clock_seconds(connection) - wall.timestamp()) <= CLOCKS_APART_SECONDS


def clamp_times(
    connection: Connection, *, longest_wait_seconds: float, lease_seconds: float, longest_lease_seconds: float
) -> bool:
    """Brings back what is further ahead of the database's clock than it can be; False if some of it is left.

    A wait becomes the longest one, a lease beyond the longest becomes `lease_seconds`, and what has happened happened
    now at the latest. Locks invoices in the order of their ids, and waits for nobody: what is locked is left.
    """
    limits = {"longest_wait": longest_wait_seconds, "lease": lease_seconds, "longest_lease": longest_lease_seconds}
    execute(connection, _SQL.invoices, **limits)
    for statement in (_SQL.pauses, _SQL.instances, _SQL.period_closings, _SQL.alarms):
        execute(connection, statement)
    return not fetch_value(connection, _SQL.some_left, **limits)
