"""When a month is closed: its every invoice is final and none is missing; told once, and again if that changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row

from persistence.connection.statements import execute, fetch

# Which due periods have nothing open and other counts than were told: few to sum up, cheap to find.
_CLOSE = """
    WITH counted AS (
        SELECT period, count(*) FILTER (WHERE state = 'registered') AS registered,
            count(*) FILTER (WHERE state = 'aborted') AS aborted, count(*) AS number
        FROM invoices WHERE period = ANY(CAST(:periods AS text[])) GROUP BY period
    ), over AS (
        SELECT c.* FROM counted c LEFT JOIN period_closings p USING (period)
        WHERE c.number = c.registered + c.aborted
            AND (p.registered, p.aborted) IS DISTINCT FROM (c.registered, c.aborted)
            AND NOT EXISTS (
                SELECT FROM network_users u WHERE c.period >= u.billed_from
                    AND (u.billed_until IS NULL OR c.period <= u.billed_until)
                    AND EXISTS (SELECT FROM measurement_locations m WHERE m.network_user = u.id)
                    AND NOT EXISTS (SELECT FROM invoices i WHERE i.network_user_id = u.id AND i.period = c.period))
    )
    INSERT INTO period_closings AS known
        (period, registered, aborted, total_eur, tax_eur, total_with_tax_eur)
    SELECT o.period, o.registered, o.aborted, coalesce(sum(i.total_eur), 0), coalesce(sum(i.tax_eur), 0),
        coalesce(sum(i.total_with_tax_eur), 0)
    FROM over o LEFT JOIN invoices i ON i.period = o.period AND i.state = 'registered'
    GROUP BY o.period, o.registered, o.aborted
    ON CONFLICT (period) DO UPDATE SET closed_at = excluded.closed_at, told_at = NULL,
        registered = excluded.registered, aborted = excluded.aborted, total_eur = excluded.total_eur,
        tax_eur = excluded.tax_eur, total_with_tax_eur = excluded.total_with_tax_eur
    WHERE (known.registered, known.aborted) IS DISTINCT FROM (excluded.registered, excluded.aborted)
"""


@dataclass(frozen=True, slots=True)
class Closing:
    """What a closed month came to: how its invoices ended, and the sums of the registered ones."""

    period: str
    closed_at: datetime
    registered: int
    aborted: int
    total_eur: Decimal
    tax_eur: Decimal
    total_with_tax_eur: Decimal

    def __str__(self) -> str:
        aborted = f", {self.aborted} aborted" if self.aborted else ""
        return (
            f"the month {self.period} is closed: {self.registered} invoices registered{aborted}, "
            f"{self.total_eur} EUR + {self.tax_eur} EUR tax = {self.total_with_tax_eur} EUR"
        )


def close_periods(connection: Connection, periods: Sequence[str]) -> int:
    """Notes which of these due periods are closed now; returns how many."""
    return execute(connection, _CLOSE, periods=list(periods))


def take_untold(connection: Connection) -> list[Closing]:
    """The closings that nobody was told of yet; they count as told when the transaction commits."""
    rows = fetch(
        connection,
        """UPDATE period_closings SET told_at = clock_timestamp() WHERE period IN (
                    SELECT period FROM period_closings WHERE told_at IS NULL ORDER BY period
                    FOR UPDATE SKIP LOCKED) RETURNING *""",
    )
    return sorted((_closing(row) for row in rows), key=lambda each: each.period)


def last_closings(connection: Connection, limit: int = 24) -> list[Closing]:
    """The closed periods, the latest ones, in order."""
    rows = fetch(connection, "SELECT * FROM period_closings ORDER BY period DESC LIMIT :limit", limit=limit)
    return [_closing(row) for row in reversed(rows)]


def _closing(row: Row[Any]) -> Closing:
    return Closing(
        row.period, row.closed_at, row.registered, row.aborted, row.total_eur, row.tax_eur, row.total_with_tax_eur
    )
