"""The months, in UTC, that readings lie in: a partition each, made when readings come, taken out when they are over."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, text


class MonthArchived(Exception):  # noqa: N818 - named for what is so
    """The readings of a month have been taken out of billing: a table of the month's name is there, detached."""

    def __init__(self, month: datetime) -> None:
        super().__init__(f"the readings of {month:%Y-%m} are archived: the table {_name(month)} is detached")
        self.month = month


def months_of(connection: Connection, table: str, first_at: datetime, last_at: datetime) -> list[datetime]:
    """The first instants of the months that the table has rows of; its rows lie from `first_at` to `last_at`."""
    first, last = _month(first_at), _month(last_at)
    if (last.year - first.year) * 12 + last.month - first.month <= 1:
        return sorted({first, last})  # the usual file needs no pass for this
    return list(connection.execute(text(f"SELECT DISTINCT date_trunc('month', at) FROM {table} ORDER BY 1")).scalars())


def make_months(connection: Connection, months: Iterable[datetime]) -> None:
    """Makes the partitions that are missing; nobody who reads or writes readings waits for it.

    Raises MonthArchived.
    """
    wanted = {_name(month): month for month in months}
    if all(_standing(connection, wanted).get(name) for name in wanted):
        return
    # One at a time makes them. It is not CREATE TABLE … PARTITION OF, which would lock everyone out.
    connection.execute(text("LOCK TABLE ONLY readings IN SHARE UPDATE EXCLUSIVE MODE"))
    standing = _standing(connection, wanted)
    for name, month in wanted.items():
        if name not in standing:
            _make(connection, name, f"timestamptz '{month:%Y-%m-%d} 00:00Z'")
        elif not standing[name]:
            raise MonthArchived(month)


def _make(connection: Connection, name: str, first: str) -> None:
    connection.execute(text(f"CREATE TABLE {name} (LIKE readings INCLUDING ALL)"))
    connection.execute(
        text(
            f"ALTER TABLE readings ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({first} + interval '1 month')"
        )
    )


def missing_months(connection: Connection, first_at: datetime, last_at: datetime) -> list[str]:
    """The months between two instants, their own included, of which billing has no readings (any more): 2026-10."""
    months = connection.execute(
        text("SELECT generate_series(date_trunc('month', CAST(:first AS timestamptz)), :last, interval '1 month')"),
        {"first": first_at, "last": last_at},
    ).scalars()
    wanted = {_name(month): f"{month:%Y-%m}" for month in months}
    standing = _standing(connection, wanted)
    return [month for name, month in wanted.items() if not standing.get(name)]


def _standing(connection: Connection, names: Iterable[str]) -> dict[str, bool]:
    """Which tables of these names there are, and whether each is a part of the readings."""
    rows = connection.execute(
        text("""SELECT c.relname, i.inhrelid IS NOT NULL AS attached FROM pg_class c
                LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = 'readings'::regclass
                    AND NOT i.inhdetachpending
                WHERE c.relname = ANY(CAST(:names AS text[]))
                    AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'readings'::regclass)"""),
        {"names": list(names)},
    )
    return {row.relname: row.attached for row in rows}


def _month(at: datetime) -> datetime:
    return at.replace(day=1, hour=0, minute=0)


def _name(month: datetime) -> str:
    return f"readings_{month:%Y_%m}"
