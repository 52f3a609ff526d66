"""What a month comes to: its invoices one by one, and sums per location and line, for reports and the accountant."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row

from persistence.connection.database import Database
from persistence.connection.statements import fetch

PAGE_ROWS = 500


def month_rows(opened: Database, period: str) -> Iterator[Row[Any]]:
    """A month's invoices by id with location, names and lines, a page at a time, so that memory stays level."""
    after = ""
    while True:
        with opened.transaction() as connection:
            rows = fetch(
                connection,
                """SELECT i.*, d.lines, coalesce(d.snapshot->'location'->>'id', u.location) AS location_id,
                            coalesce(d.snapshot->'location'->>'title', l.title) AS location_title,
                            coalesce(d.snapshot->'network_user'->>'title', u.title) AS network_user_title,
                            coalesce(d.snapshot->'network_user'->'legal_person', u.legal_person) AS legal_person,
                            coalesce(d.snapshot->>'altibiz_sub_project_code', u.altibiz_sub_project_code)
                                AS sub_project_code
                        FROM invoices i JOIN network_users u ON u.id = i.network_user_id
                        JOIN locations l ON l.id = u.location
                        LEFT JOIN invoice_documents d ON d.invoice_id = i.id
                        WHERE i.period = :period AND i.id COLLATE "C" > :after ORDER BY i.id COLLATE "C"
                        LIMIT :limit""",
                period=period,
                after=after,
                limit=PAGE_ROWS,
            )
        yield from rows
        if len(rows) < PAGE_ROWS:
            return
        after = rows[-1].id


def line_totals(connection: Connection, period: str) -> list[Row[Any]]:
    """(location_id, ordinal, name, price_eur) of what is registered of a month, lines summed, in order."""
    return fetch(
        connection,
        """SELECT d.snapshot->'location'->>'id' AS location_id, line->>'ordinal' AS ordinal,
                        min(line->>'name') AS name, sum((line->>'price_eur')::numeric) AS price_eur
                    FROM invoices i JOIN invoice_documents d ON d.invoice_id = i.id,
                        jsonb_array_elements(d.lines) AS line
                    WHERE i.period = :period AND i.state = 'registered' GROUP BY 1, 2 ORDER BY 1, 2""",
        period=period,
    )


def location_totals(connection: Connection, period: str) -> list[Row[Any]]:
    """(location_id, location_title, invoices, total_eur, tax_eur, total_with_tax_eur) of what is registered."""
    return fetch(
        connection,
        """SELECT d.snapshot->'location'->>'id' AS location_id,
                        min(d.snapshot->'location'->>'title') AS location_title, count(*) AS invoices,
                        sum(i.total_eur) AS total_eur, sum(i.tax_eur) AS tax_eur,
                        sum(i.total_with_tax_eur) AS total_with_tax_eur
                    FROM invoices i JOIN invoice_documents d ON d.invoice_id = i.id
                    WHERE i.period = :period AND i.state = 'registered' GROUP BY 1 ORDER BY 1""",
        period=period,
    )
