"""The months, in UTC, that readings lie in: a partition each, made when readings come, taken out when they are over."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from persistence.connection.statements import execute, fetch_column, fetch_value
from persistence.sql import Queries

_SQL = Queries(__file__)


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month in UTC, not in the time zone of billing."""

    year: int
    number: int

    @classmethod
    def of(cls, at: datetime) -> "Month":
        return cls(at.year, at.month)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"

    @property
    def table(self) -> str:
        """The name of its partition."""
        return f"readings_{self.year:04}_{self.number:02}"

    @property
    def begin(self) -> str:
        """Its first instant, in SQL."""
        return f"timestamptz '{self}-01 00:00Z'"

    @property
    def end(self) -> str:
        """The first instant of the next one, in SQL."""
        return f"({self.begin} + interval '1 month')"

    def has(self, instant: str) -> str:
        """SQL for whether an instant lies in it."""
        return f"{instant} >= {self.begin} AND {instant} < {self.end}"


class MonthArchived(Exception):  # noqa: N818 - named for what is so
    """The readings of a month have been taken out of billing: a table of the month's name is there, detached."""

    def __init__(self, month: Month) -> None:
        super().__init__(f"the readings of {month} are archived: the table {month.table} is detached")
        self.month = month


def months_of(connection: Connection, table: str, first_at: datetime, last_at: datetime) -> list[Month]:
    """The months that the table has rows of; its rows lie from `first_at` to `last_at`."""
    first, last = Month.of(first_at), Month.of(last_at)
    if (last.year - first.year) * 12 + last.number - first.number <= 1:
        return sorted({first, last})  # the usual file needs no pass for this
    rows = fetch_column(connection, f"SELECT DISTINCT date_trunc('month', at) FROM {table}")
    return sorted(Month.of(row) for row in rows)


def missing_months(connection: Connection, months: Collection[Month]) -> list[Month]:
    """Those that have no partition; if there are any, nobody else makes one before this transaction ends.

    Nobody who reads or writes readings waits for that. Raises MonthArchived.
    """
    if len(attached_months(connection, months)) == len(months):
        return []
    execute(connection, "LOCK TABLE ONLY readings IN SHARE UPDATE EXCLUSIVE MODE")
    attached = attached_months(connection, months)
    missing = [month for month in months if month not in attached]
    for month in missing:
        if fetch_value(connection, "SELECT to_regclass(:name) IS NOT NULL", name=month.table):
            raise MonthArchived(month)
    return missing


def make_month(connection: Connection, month: Month, rows: str) -> int:
    """Makes a month's partition of these rows, a SELECT, and gives their number; raises RowRefused for a key twice.

    The key is made over the rows at once, at a third of the cost of one after the other.
    """
    month_step(connection, month, filled=False)
    count = execute(connection, f"INSERT INTO {month.table} {rows}")
    month_step(connection, month, filled=True)
    return count


def month_step(connection: Connection, month: Month, *, filled: bool) -> None:
    """Makes a month's table, without a key; once `filled` removes rows of other months, makes the key and attaches it.

    It is not CREATE TABLE … PARTITION OF, which would lock everyone out. The function has the owner's rights.
    """
    sql = "SELECT readings_month(CAST(:first_day AS date), :filled)"
    execute(connection, sql, first_day=f"{month}-01", filled=filled)


def attached_months(connection: Connection, months: Collection[Month]) -> set[Month]:
    """Those whose readings billing has."""
    names = {month.table: month for month in months}
    return {names[name] for name in fetch_column(connection, _SQL.attached, names=list(names))}
