"""The proof of what is stored: history chains, documents, daily roots, and each invoice computed again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row

from persistence.connection.database import Database
from persistence.connection.statements import execute, fetch, fetch_row, fetch_value
from persistence.invoices.queries import pages
from persistence.sql import Queries

_SQL = Queries(__file__)
PAGE_ROWS = 300


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was stored: of which invoice, what kind, in words."""

    id: str
    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class Root:
    """The hash over all chains and documents up to a position of the trail, made on a day."""

    day: date
    position: int
    invoices: int
    root: str
    at: datetime

    def __str__(self) -> str:
        return f"the audit root of {self.day} over {self.invoices} invoices is {self.root}"


def broken_trails(connection: Connection, period: str | None) -> list[Finding]:
    """Histories and documents that are not what was written, of one period or of all."""
    return [Finding(row.invoice_id, row.kind, row.what) for row in fetch(connection, _SQL.chains, period=period)]


def day_without_root(connection: Connection) -> date | None:
    """Today in UTC by the database's clock, if it has no root yet."""
    day: date | None = fetch_value(connection, _SQL.day_without_root)
    return day


def settled_position(connection: Connection) -> int:
    """The position up to which the trail is complete; the lock waits out whoever writes, and ends with this."""
    execute(connection, "SET LOCAL lock_timeout = '1s'")
    execute(connection, "LOCK TABLE invoice_history IN SHARE MODE")
    return int(fetch_value(connection, "SELECT coalesce(max(position), 0) FROM invoice_history"))


def make_root(connection: Connection, day: date, position: int) -> Root | None:
    """Stores a day's root, chained to the one that was made before; None if another daemon was quicker."""
    before = fetch_row(connection, _SQL.last_root)
    made = fetch_row(connection, _SQL.root, before=before.root, position=position)
    stored = fetch_row(
        connection, _SQL.store_root, ordinal=before.ordinal + 1, day=day, position=position,
        invoices=made.invoices, root=made.root,
    )  # fmt: skip
    return None if stored is None else Root(day, position, made.invoices, made.root, stored.at)


def stored_roots(connection: Connection) -> list[tuple[Root, bool]]:
    """All roots in the order of their making, and of each whether it is what the rows and the one before give."""
    roots = []
    for row in fetch(connection, _SQL.roots):
        now = fetch_row(connection, _SQL.root, before=row.before, position=row.position)
        root = Root(row.day, row.position, row.invoices, row.root.hex(), row.at)
        roots.append((root, row.follows and (now.root, now.invoices) == (root.root, root.invoices)))
    return roots


def last_root(connection: Connection) -> Root | None:
    """The root that was made last, as it is stored."""
    row = fetch_row(connection, _SQL.last_root)
    return Root(row.day, row.position, row.invoices, row.root.hex(), row.at) if row.ordinal else None


def days_with_work_and_no_root(connection: Connection) -> list[date]:
    """The days on which a daemon calculated invoices though neither they nor their next days have a root."""
    return [row.day for row in fetch(connection, _SQL.days_with_work_and_no_root)]


def stored_invoices(opened: Database, period: str | None) -> Iterator[Sequence[Row[Any]]]:
    """Every calculated invoice with its document, a page at a time; `calculated_at` says when."""
    return pages(opened, _SQL.stored_invoices, PAGE_ROWS, period=period)


def replacements(connection: Connection, meter_id: str, start: datetime, end: datetime) -> list[Row[Any]]:
    """What was replaced among a meter's readings of a period: at, replaced_at, replaced_by, reason."""
    return fetch(connection, _SQL.replacements, meter=meter_id, start=start, end=end)
