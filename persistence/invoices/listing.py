"""What is read for looking around: invoices whole, as a table or a page at a time, and the last day hour by hour."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from persistence.connection.statements import Source, fetch, fetch_dicts, fetch_row, fetch_value
from persistence.sql import Queries

_COLUMNS = """id, network_user_id, period, revision, state, bill_id, abort_reason, held_code, held_reason, total_eur,
    tax_rate_percent, tax_eur, total_with_tax_eur, invoice_date, attempts, next_attempt_at, created_at, updated_at"""

_WANTED = """(CAST(:period AS text) IS NULL OR period = :period)
    AND (CAST(:state AS text) IS NULL OR state = :state)
    AND (CAST(:network_user AS text) IS NULL OR network_user_id = :network_user)
    AND (CAST(:code AS text) IS NULL OR held_code = :code)"""
"""The condition of a Filter, whose fields are its values."""
_SQL = Queries(__file__, COLUMNS=_COLUMNS, WANTED=_WANTED)


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
        """coalesce(to_char(next_attempt_at, 'YYYY-MM-DD HH24:MI:SS"Z"'), '-')""",
        "20 * CAST(count(next_attempt_at) > 0 AS int)",
        False,
    ),
)
_NOTE = r"""CASE WHEN held_code IS NULL AND abort_reason IS NULL THEN '-'
    ELSE translate(coalesce(held_code || ': ' || held_reason, nullif(abort_reason, ''), '-'), E'\n\r\t', '   ') END"""
_WIDTHS = f"""
    SELECT {", ".join(f'{width} AS "{title}"' for title, _, width, _ in _CELLS)}
    FROM invoices WHERE {_WANTED} HAVING count(*) > 0"""
# `format` alone takes as long as one of its cells would by a function of its own.
_TABLE = f"""
    SELECT string_agg(format(:line, {", ".join(cell for _, cell, _, _ in _CELLS)}, {_NOTE}), E'\\n')
    FROM (SELECT * FROM invoices WHERE {_WANTED} ORDER BY period, network_user_id, revision) AS listed"""


@dataclass(frozen=True, slots=True)
class Filter:
    """What `invoices list` asks for; None means any."""

    period: str | None = None
    state: str | None = None
    network_user: str | None = None
    code: str | None = None


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


def list_invoices(source: Source, wanted: Filter) -> list[dict[str, Any]]:
    """Invoices by period and user, with the columns of docs/spec/interfaces.md."""
    return fetch_dicts(source, _SQL.listed, **asdict(wanted))


def show_invoices(source: Source, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Whole invoices, in the order asked for, with lines, calculations, snapshot, body, history and exchanges;
    unknown ids are left out.
    """
    found = {
        row["id"]: row | {"lines": [], "calculations": [], "snapshot": {}, "body": None, "history": [], "exchanges": []}
        for row in fetch_dicts(source, _SQL.these, ids=list(ids))
    }
    for row in fetch_dicts(source, _SQL.documents, ids=list(ids)):
        found[row.pop("invoice_id")].update(row, body=bytes(row["body"]).decode())
    for name in ("history", "exchanges"):
        for row in fetch_dicts(source, getattr(_SQL, name), ids=list(ids)):
            found[row.pop("invoice_id")][name].append(row)
    return [found[invoice_id] for invoice_id in ids if invoice_id in found]


def table(source: Source, wanted: Filter) -> Table:
    """The table of `invoices list`. The server draws it, as a hundred thousand rows would keep Python for seconds."""
    values = asdict(wanted)
    widths = fetch_row(source, _WIDTHS, **values)
    if widths is None:
        return Table("", 0, {})
    sized = zip(_CELLS, widths, strict=True)
    forms = [f"%{max(len(title), width) * (1 if right else -1)}s" for (title, _, _, right), width in sized]
    line = "  ".join([*forms, "%s"])
    drawn = str(fetch_value(source, _TABLE, **values, line=line))
    codes = {row.held_code: row.number for row in fetch(source, _SQL.codes, **values)}
    titles = line % (*(title for title, _, _, _ in _CELLS), "why")
    return Table(f"{titles}\n{drawn}", drawn.count("\n") + 1, codes)


def last_hours(source: Source, hours: int = 24) -> Sequence[Hour]:
    """That many hours of the clock, the present one last, out of the history."""
    return [Hour(**row) for row in fetch_dicts(source, _SQL.hours, hours=hours)]


def browse(
    source: Source,
    *,
    state: str | None = None,
    period: str | None = None,
    beginning: str = "",
    after: str = "",
    most: int = 50,
) -> list[dict[str, Any]]:
    """Invoices behind `after` in the order of their ids, with the columns of docs/spec/interfaces.md."""
    return fetch_dicts(source, _SQL.page, state=state, period=period, beginning=beginning, after=after, most=most)
