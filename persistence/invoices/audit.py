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

    invoice_id: str
    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class Root:
    """The hash over all chains and documents up to a position of the trail, made on a day."""

    day: date
    position: int
    invoices: int
    root: str


def broken_trails(connection: Connection, period: str | None) -> list[Finding]:
    """Histories and documents that are not what was written, of one period or of all."""
    return [Finding(row.invoice_id, row.kind, row.what) for row in fetch(connection, _SQL.chains, period=period)]


def day_without_root(connection: Connection) -> date | None:
    """Today in UTC by the database's clock, if it has no root yet."""
    day: date | None = fetch_value(
        connection,
        """SELECT today FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock
            WHERE NOT EXISTS (SELECT FROM audit_roots WHERE day >= today)""",
    )
    return day


def settled_position(connection: Connection) -> int:
    """The position up to which the trail is complete; the lock waits out whoever writes, and ends with this."""
    execute(connection, "SET LOCAL lock_timeout = '1s'")
    execute(connection, "LOCK TABLE invoice_history IN SHARE MODE")
    return int(fetch_value(connection, "SELECT coalesce(max(position), 0) FROM invoice_history"))


def make_root(connection: Connection, day: date, position: int) -> Root | None:
    """Stores a day's root, chained to the one before; None if another daemon was quicker."""
    before = fetch_value(connection, "SELECT root FROM audit_roots ORDER BY day DESC LIMIT 1")
    made = fetch_row(connection, _SQL.root, before=before, position=position)
    stored = fetch_row(
        connection,
        """INSERT INTO audit_roots (day, at, position, invoices, root)
                VALUES (:day, clock_timestamp(), :position, :invoices, decode(:root, 'hex'))
                ON CONFLICT DO NOTHING RETURNING day""",
        day=day,
        position=position,
        invoices=made.invoices,
        root=made.root,
    )
    return None if stored is None else Root(day, position, made.invoices, made.root)


def check_root(connection: Connection) -> tuple[Root, bool] | None:
    """The last root, and whether it still is what the rows give; None if there is none yet."""
    rows = fetch(connection, "SELECT day, position, invoices, root FROM audit_roots ORDER BY day DESC LIMIT 2")
    if not rows:
        return None
    before = rows[1].root if len(rows) > 1 else None
    now = fetch_row(connection, _SQL.root, before=before, position=rows[0].position)
    root = Root(rows[0].day, rows[0].position, rows[0].invoices, rows[0].root.hex())
    return root, (now.root, now.invoices) == (root.root, root.invoices)


def stored_invoices(opened: Database, period: str | None) -> Iterator[Sequence[Row[Any]]]:
    """Every calculated invoice with its document, a page at a time; `calculated_at` says when."""
    return pages(opened, _SQL.stored_invoices, PAGE_ROWS, period=period)


def replacements(connection: Connection, meter_id: str, start: datetime, end: datetime) -> list[Row[Any]]:
    """What was replaced among a meter's readings of a period: at, replaced_at, replaced_by, reason."""
    return fetch(
        connection,
        """SELECT at, replaced_at, replaced_by, reason FROM readings_replaced
                    WHERE meter_id = :meter AND at BETWEEN :start AND :end ORDER BY replaced_at, at""",
        meter=meter_id,
        start=start,
        end=end,
    )
