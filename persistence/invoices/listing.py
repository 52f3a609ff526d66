"""What is read for looking around: invoices whole, as a table or a page at a time, and the last day hour by hour."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from persistence.connection.statements import Source, fetch, fetch_dicts, fetch_row, fetch_value
from persistence.sql import Queries

_SQL = Queries(__file__)
_TITLES = ("invoice", "state", "EUR with tax", "bill", "next try", "why")
_TO_THE_RIGHT = "EUR with tax"


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
    widths = fetch_row(source, _SQL.widths, **values)
    if widths is None:
        return Table("", 0, {})
    sized = zip(_TITLES, widths, strict=False)  # the last has no width
    forms = [f"%{max(len(title), width) * (1 if title == _TO_THE_RIGHT else -1)}s" for title, width in sized]
    line = "  ".join([*forms, "%s"])
    drawn = str(fetch_value(source, _SQL.drawn, **values, line=line))
    codes = {row.held_code: row.number for row in fetch(source, _SQL.codes, **values)}
    return Table(f"{line % _TITLES}\n{drawn}", drawn.count("\n") + 1, codes)


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
