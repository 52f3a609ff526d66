"""The month's report for the accountant, CSV or HTML: each invoice beside its booking, sums, and its own SHA-256."""

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal
from html import escape
from pathlib import Path

from billing.reconciliation import Difference
from cli.invocation import CommandFailed
from cli.reconciliation import ReconciliationResult
from persistence.database import Database
from persistence.monthly import line_totals, location_totals, month_rows

COLUMNS = (
    "row", "location", "network_user", "invoice", "line", "name", "state", "bill_id", "invoices", "total_eur",
    "tax_eur", "total_with_tax_eur", "difference", "here", "at_the_erp",
)  # fmt: skip
_STYLE = """body{font:11pt sans-serif;margin:2em}table{border-collapse:collapse;width:100%}
th,td{border-bottom:1px solid #bbb;padding:.2em .5em;text-align:left}td.n{text-align:right}
tr.line td,tr.invoice td{font-size:9pt}tr.location td,tr.all td{font-weight:bold}tr.difference td{background:#fdd}
@page{size:A4 landscape;margin:1.5cm}thead{display:table-header-group}tr{break-inside:avoid}"""
_NUMBERS = ("invoices", "total_eur", "tax_eur", "total_with_tax_eur")
_AMOUNTS = _NUMBERS[1:]

Values = dict[str, object]


def write_report(opened: Database, path: Path, period: str, result: ReconciliationResult, *, as_html: bool) -> str:
    """Writes the report of a month; returns the SHA-256 of all its lines but the last, which says the same.

    Sums are of what is registered. Raises CommandFailed when the file can't be written.
    """
    rows = _rows(opened, period, result.differences)
    lines = _html(period, result, rows) if as_html else _csv(rows)
    digest = hashlib.sha256()
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            for line in lines:
                digest.update(f"{line}\n".encode())
                file.write(f"{line}\n")
            said = digest.hexdigest()
            file.write(f"<p>SHA-256 of all lines above: <code>{said}</code></p></html>\n" if as_html else f"#{said}\n")
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
    names: dict[str, str] = {}
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for line in lines:
        names[line.ordinal] = line.name
        sums[line.ordinal] += line.price_eur
        yield {
            "row": "line", "location": line.location_id, "line": line.ordinal, "name": line.name,
            "total_eur": line.price_eur,
        }  # fmt: skip
    for ordinal, total_eur in sorted(sums.items()):
        yield {"row": "line", "line": ordinal, "name": names[ordinal], "total_eur": total_eur}
    for place in locations:
        yield {
            "row": "location", "location": place.location_id, "name": place.location_title,
            **{name: getattr(place, name) for name in _NUMBERS},
        }  # fmt: skip
    everything = {name: sum((getattr(place, name) for place in locations), Decimal(0)) for name in _AMOUNTS}
    yield {"row": "all", "invoices": sum(place.invoices for place in locations), **everything}


def _csv(rows: Iterable[Values]) -> Iterator[str]:
    yield csv_line(COLUMNS)
    for row in rows:
        yield csv_line(row.get(name) for name in COLUMNS)


def csv_line(values: Iterable[object]) -> str:
    """One line of CSV without its end; text that a spreadsheet would take for a formula is quoted as text."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([_without_formula(value) for value in values])
    return " ".join(buffer.getvalue().splitlines())


def _without_formula(value: object) -> object:
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return f"{value:f}" if isinstance(value, Decimal) else value


def _html(period: str, result: ReconciliationResult, rows: Iterable[Values]) -> Iterator[str]:
    verdict = "no difference" if not result.differences else f"{len(result.differences)} differences"
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Billing {period}</title>'
    yield f"<style>{_STYLE}</style><h1>Billing of {period}</h1>".replace("\n", " ")
    yield f"<p>Compared with the ERP: {result.compared}; {verdict}; {len(result.open)} still open. "
    yield "Sums are of what is registered, in EUR.</p><table><thead><tr>"
    yield "".join(f"<th>{name.replace('_', ' ')}</th>" for name in COLUMNS) + "</tr></thead><tbody>"
    for row in rows:
        css_class = "difference" if row.get("difference") else row["row"]
        yield f'<tr class="{css_class}">{"".join(_html_cell(name, row.get(name)) for name in COLUMNS)}</tr>'
    yield "</tbody></table>"


def _html_cell(name: str, value: object) -> str:
    if isinstance(value, Decimal):
        value = f"{value:,.2f}"
    shown = "" if value is None else escape(" ".join(str(value).split()))
    return f'<td class="n">{shown}</td>' if name in _NUMBERS else f"<td>{shown}</td>"
