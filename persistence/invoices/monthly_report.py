"""What a month comes to: its invoices one by one, and sums per location and line, for reports and the accountant."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Row

from persistence.connection.database import Database
from persistence.connection.statements import fetch
from persistence.invoices.queries import pages
from persistence.sql import Queries

_SQL = Queries(__file__)
PAGE_ROWS = 500


def month_rows(opened: Database, period: str) -> Iterator[Row[Any]]:
    """A month's invoices by id with location, names and lines, a page at a time, so that memory stays level."""
    return chain.from_iterable(pages(opened, _SQL.month_rows, PAGE_ROWS, period=period))


def line_totals(connection: Connection, period: str) -> list[Row[Any]]:
    """A month's registered lines summed: location_id (None: all, which come last), ordinal, name, price_eur."""
    return fetch(connection, _SQL.line_totals, period=period)


def location_totals(connection: Connection, period: str) -> list[Row[Any]]:
    """The same of invoices: location_id, location_title, invoices, total_eur, tax_eur, total_with_tax_eur."""
    return fetch(connection, _SQL.location_totals, period=period)
