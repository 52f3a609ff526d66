"""The ERP's bookings beside our invoices, in temporary tables of one session: nothing that lasts is changed."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import chain

from sqlalchemy import Connection

from billing.reconciliation import Side
from persistence.connection.database import Database
from persistence.connection.statements import execute, fetch_row, fetch_value
from persistence.invoices.queries import pages
from persistence.sql import Queries

_SQL = Queries(__file__)
PAGE_ROWS = 2000


@dataclass(frozen=True, slots=True)
class Pair:
    """An invoice of ours, if there is one, and all its bookings; `moved`: it changed while the ERP was read."""

    id: str
    ours: Side | None
    theirs: tuple[Side, ...]
    moved: bool


def begin(connection: Connection) -> datetime:
    """Makes room for the bookings in this session; returns the database's now."""
    execute(connection, "DROP TABLE IF EXISTS pg_temp.bookings, pg_temp.compared")
    execute(connection, _SQL.make_room)
    now: datetime = fetch_value(connection, "SELECT clock_timestamp()")
    return now


def keep(connection: Connection, bookings: Sequence[tuple[str, str, str | None, Decimal]]) -> None:
    """Keeps a page of bookings: id, state, bill_id, total with tax in EUR."""
    rows = [{"id": a, "state": b, "bill_id": c, "total": str(d)} for a, b, c, d in bookings]
    execute(connection, _SQL.keep, rows=json.dumps(rows))


def join(connection: Connection, period: str | None, since: datetime) -> int:
    """Puts both sides beside each other, of one period or of all; returns how many debts and bookings there are."""
    execute(connection, _SQL.join, period=period, since=since)
    execute(connection, "CREATE INDEX ON compared (id)")
    return int(fetch_value(connection, "SELECT count(*) FROM compared"))


def pairs(opened: Database) -> Iterator[Pair]:
    """What `join` put together, by id, a page at a time, so that memory stays level."""
    for row in chain.from_iterable(pages(opened, _SQL.page, PAGE_ROWS)):
        ours = None if row.state is None else Side(row.state, row.bill_id, row.total_with_tax_eur)
        theirs = tuple(Side(state, bill_id, Decimal(total)) for state, bill_id, total in row.bookings or ())
        yield Pair(row.id, ours, theirs, row.moved)


def read_ours(connection: Connection, invoice_id: str) -> Side | None:
    """An invoice as it stands now."""
    row = fetch_row(connection, "SELECT state, bill_id, total_with_tax_eur FROM invoices WHERE id = :id", id=invoice_id)
    return None if row is None else Side(row.state, row.bill_id, row.total_with_tax_eur)
