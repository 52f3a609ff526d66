"""Where invoices stand, and rows that are too many to be had at once."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from persistence.connection.database import Database
from persistence.connection.statements import fetch, fetch_row, fetch_value


def state_of(connection: Connection, invoice_id: str) -> str | None:
    """Where an invoice stands; None if there is none."""
    found = fetch_value(connection, "SELECT state FROM invoices WHERE id = :id", id=invoice_id)
    return None if found is None else str(found)


def verdict_of(connection: Connection, invoice_id: str) -> Any:
    """Its state and bill_id; None if there is none."""
    return fetch_row(connection, "SELECT state, bill_id FROM invoices WHERE id = :id", id=invoice_id)


def counts(connection: Connection) -> dict[str, int]:
    """How many invoices stand in each state."""
    rows = fetch(connection, "SELECT state, count(*) AS number FROM invoices GROUP BY state")
    return {row.state: row.number for row in rows}


def pages(opened: Database, statement: str, limit: int, **values: object) -> Iterator[list[Any]]:
    """The rows behind `:after` in the order of their ids, at most `:limit` at a time, so that memory stays level."""
    after = ""
    while rows := _page(opened, statement, limit=limit, after=after, **values):
        yield rows
        if len(rows) < limit:
            return
        after = rows[-1].id


def _page(opened: Database, statement: str, **values: object) -> list[Any]:
    with opened.transaction() as connection:
        return fetch(connection, statement, **values)
