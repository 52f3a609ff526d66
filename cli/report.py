"""The month's report for the accountant, CSV or HTML: invoices beside bookings, sums, and its own SHA-256."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from billing.reconciliation import Difference
from cli.invocation import CommandFailed
from cli.output import csv_line
from persistence.connection.database import Database
from persistence.invoices.monthly_report import line_totals, location_totals, month_rows

COLUMNS = (
    "row", "location", "network_user", "invoice", "line", "name", "state", "bill_id", "invoices", "total_eur",
    "tax_eur", "total_with_tax_eur", "difference", "here", "at_the_erp",
)  # fmt: skip
_NUMBERS = ("invoices", "total_eur", "tax_eur", "total_with_tax_eur")

Values = dict[str, object]


def write_report(
    opened: Database, path: Path, period: str, differences: Sequence[Difference], *, html_head: str | None
) -> str:
    """Writes the report of a month; returns the SHA-256 of all its lines but the last, which says the same.

    It is a page that begins with the sentence `html_head`, without one it is CSV. Sums are of what is registered.
    Raises CommandFailed when the file can't be written.
    """
    rows = _rows(opened, period, differences)
    pieces = _csv(rows)
    if html_head is not None:
        from web.templating import generate  # only a page needs it

        pieces = generate(
            "month_report.html", period=period, head=html_head, columns=COLUMNS, number_columns=_NUMBERS,
            rows=map(_texts, rows),
        )  # fmt: skip
    digest = hashlib.sha256()
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            for piece in pieces:
                digest.update(piece.encode())
                file.write(piece)
            said = digest.hexdigest()
            file.write(
                f"<p>SHA-256 of all lines above: <code>{said}</code></p></html>\n" if html_head else f"#{said}\n"
            )
    except OSError as error:
        raise CommandFailed(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error
    return said


def _rows(opened: Database, period: str, differences: Iterable[Difference]) -> Iterator[Values]:
    """Invoices, then differences, then sums per line and location, then the sum of all."""
    kinds = defaultdict(list)
    for each in differences:
        kinds[each.id].append(each.kind.value)
    for row in month_rows(opened, period):
        yield {
            "row": "invoice", "location": row.location_id, "network_user": row.network_user_title, "invoice": row.id,
            "state": row.state, "bill_id": row.bill_id, "total_eur": row.total_eur, "tax_eur": row.tax_eur,
            "total_with_tax_eur": row.total_with_tax_eur, "difference": " ".join(kinds[row.id]),
        }  # fmt: skip
    for each in differences:
        yield {
            "row": "difference", "invoice": each.id, "difference": each.kind.value, "here": each.ours,
            "at_the_erp": each.theirs,
        }  # fmt: skip
    with opened.transaction() as connection:
        lines, locations = line_totals(connection, period), location_totals(connection, period)
    for line in lines:
        yield {
            "row": "line", "location": line.location_id, "line": line.ordinal, "name": line.name,
            "total_eur": line.price_eur,
        }  # fmt: skip
    for place in locations:
        yield {
            "row": "all" if place.location_id is None else "location", "location": place.location_id,
            "name": place.location_title, **{name: getattr(place, name) for name in _NUMBERS},
        }  # fmt: skip


def _csv(rows: Iterable[Values]) -> Iterator[str]:
    yield csv_line(COLUMNS) + "\n"
    for row in rows:
        yield csv_line(row.get(name) for name in COLUMNS) + "\n"


def _texts(row: Values) -> dict[str, str]:
    texts = {
        name: f"{value:,.2f}" if isinstance(value, Decimal) else str(value)
        for name, value in row.items()
        if value is not None
    }
    return {name: " ".join(texts.get(name, "").split()) for name in COLUMNS}
