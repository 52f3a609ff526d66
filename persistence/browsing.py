"""What is read for looking around: invoices as a table or a page at a time, and the last day hour by hour."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from persistence.invoices import COLUMNS, WANTED, Filter

_PAGE = f"""
    SELECT {COLUMNS} FROM invoices
    WHERE id > :after AND starts_with(id, :beginning)
    AND (CAST(:state AS text) IS NULL OR state = :state) AND (CAST(:period AS text) IS NULL OR period = :period)
    ORDER BY id LIMIT :most"""

# The columns of the table of invoices: title, SQL, SQL of the greatest width, and whether it stands to the right.
_CELLS = (
    ("invoice", "id", "max(length(id))", False),
    ("state", "state", "max(length(state))", False),
    (
        "EUR with tax",
        "coalesce(CAST(total_with_tax_eur AS text), '-')",
        "coalesce(length(CAST(max(total_with_tax_eur) AS text)), 0)",
        True,
    ),
    ("bill", r"coalesce(translate(bill_id, E'\n\r\t', '   '), '-')", "coalesce(max(length(bill_id)), 0)", False),
    (
        "next try",
        """coalesce(to_char(next_attempt_at, 'YYYY-MM-DD HH24\\:MI\\:SS"Z"'), '-')""",
        "20 * CAST(count(next_attempt_at) > 0 AS int)",
        False,
    ),
)
_NOTE = r"""CASE WHEN held_code IS NULL AND abort_reason IS NULL THEN '-'
    ELSE translate(coalesce(held_code || '\: ' || held_reason, nullif(abort_reason, ''), '-'), E'\n\r\t', '   ') END"""
_WIDTHS = f"SELECT {', '.join(width for _, _, width, _ in _CELLS)} FROM invoices WHERE {WANTED} HAVING count(*) > 0"
_CODES = f"""
    SELECT held_code, count(*) AS number FROM invoices
    WHERE state NOT IN ('registered', 'aborted') AND held_code IS NOT NULL AND {WANTED} GROUP BY 1 ORDER BY 2 DESC, 1"""
# `format` alone takes as long as one of its cells would by a function of its own.
_TABLE = f"""
    SELECT string_agg(format(:line, {", ".join(cell for _, cell, _, _ in _CELLS)}, {_NOTE}), E'\\n')
    FROM (SELECT * FROM invoices WHERE {WANTED} ORDER BY period, network_user_id, revision) AS listed"""

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


@dataclass(frozen=True, slots=True)
class Table:
    """Invoices by period and user, a line each behind a line of titles; how many; how many of each held code.

    The text holds what others sent as it is, but for line breaks and tabs.
    """

    text: str
    number: int
    codes: dict[str, int]


def table(connection: Connection, wanted: Filter) -> Table:
    """The table of `invoices list`. The server draws it, as a hundred thousand rows would keep Python for seconds."""
    values = asdict(wanted)
    widths = connection.execute(text(_WIDTHS), values).one_or_none()
    if widths is None:
        return Table("", 0, {})
    forms = [
        f"%{max(len(title), width) * (1 if right else -1)}s"
        for (title, _, _, right), width in zip(_CELLS, widths, strict=True)
    ]
    line = "  ".join([*forms, "%s"])
    drawn = str(connection.execute(text(_TABLE), {**values, "line": line}).scalar_one())
    codes = {row.held_code: row.number for row in connection.execute(text(_CODES), values)}
    titles = line % (*(title for title, _, _, _ in _CELLS), "why")
    return Table(f"{titles}\n{drawn}", drawn.count("\n") + 1, codes)


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
