"""What is read for looking around: invoices a page at a time, and the last day hour by hour."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from persistence.invoices import COLUMNS

_PAGE = f"""
    SELECT {COLUMNS} FROM invoices
    WHERE id > :after AND starts_with(id, :beginning)
    AND (CAST(:state AS text) IS NULL OR state = :state) AND (CAST(:period AS text) IS NULL OR period = :period)
    ORDER BY id LIMIT :most"""

# What ended in an hour is represented by the oldest of it: at an instant, the oldest of all that ended later was open.
_HOURS = """
    WITH slots AS (
        SELECT generate_series(date_trunc('hour', now()) - make_interval(hours => :hours - 1),
            date_trunc('hour', now()), interval '1 hour') AS start
    ), passed AS (
        SELECT date_trunc('hour', at) AS start,
            count(*) FILTER (WHERE to_state = 'calculated' AND from_state = 'due') AS calculated,
            count(*) FILTER (WHERE to_state = 'registered') AS registered,
            count(*) FILTER (WHERE to_state = 'held') AS held,
            count(*) FILTER (WHERE to_state = 'aborted') AS aborted
        FROM invoice_history
        WHERE to_state IN ('calculated', 'registered', 'held', 'aborted') AND from_state <> to_state
        AND at >= date_trunc('hour', now()) - make_interval(hours => :hours - 1) GROUP BY 1
    ), ended AS MATERIALIZED ( -- once, not for each slot
        SELECT date_trunc('hour', h.at) AS start, min(i.created_at) AS oldest
        FROM invoice_history h JOIN invoices i ON i.id = h.invoice_id
        WHERE h.to_state IN ('registered', 'aborted') AND h.from_state <> h.to_state
        AND h.at >= date_trunc('hour', now()) - make_interval(hours => :hours - 1) GROUP BY 1
        UNION ALL
        SELECT 'infinity', min(created_at) FROM invoices WHERE state NOT IN ('registered', 'aborted')
    )
    SELECT s.start, coalesce(p.calculated, 0) AS calculated, coalesce(p.registered, 0) AS registered,
        coalesce(p.held, 0) AS held, coalesce(p.aborted, 0) AS aborted,
        greatest(0, coalesce(extract(epoch FROM least(s.start + interval '1 hour', now())
            - (SELECT min(e.oldest) FROM ended e WHERE e.start > s.start)), 0))::float8 AS oldest_seconds
    FROM slots s LEFT JOIN passed p USING (start) ORDER BY s.start"""


@dataclass(frozen=True, slots=True)
class Hour:
    """What happened to invoices in an hour, and how old the oldest was that was open at its end."""

    start: datetime
    calculated: int
    registered: int
    held: int
    aborted: int
    oldest_seconds: float


def last_hours(connection: Connection, hours: int = 24) -> Sequence[Hour]:
    """That many hours of the clock, the present one last, out of the history."""
    return [Hour(**row._mapping) for row in connection.execute(text(_HOURS), {"hours": hours})]


def browse(
    connection: Connection,
    *,
    state: str | None = None,
    period: str | None = None,
    beginning: str = "",
    after: str = "",
    most: int = 50,
) -> list[dict[str, Any]]:
    """Invoices behind `after` in the order of their ids, with the columns of interfaces.md."""
    wanted = {"state": state, "period": period, "beginning": beginning, "after": after, "most": most}
    return [dict(row._mapping) for row in connection.execute(text(_PAGE), wanted)]
