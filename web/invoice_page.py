"""An invoice as a page to be printed or kept as PDF: HTML for A4 without scripts, all foreign text escaped."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from web.formatting import cell, percent

_Document = Mapping[str, Any]

_STYLE = """
@page { size: A4; margin: 18mm 15mm; }
body { font: 10.5pt/1.4 sans-serif; color: #111; max-width: 180mm; margin: 0 auto; }
header, .parties { display: flex; justify-content: space-between; gap: 10mm; }
h1 { font-size: 16pt; margin: 0 0 4mm; } h2 { font-size: 11pt; margin: 7mm 0 2mm; break-after: avoid; }
table { border-collapse: collapse; width: 100%; } thead { display: table-header-group; }
th, td { padding: 1mm 2mm; text-align: left; border-bottom: .2mm solid #bbb; vertical-align: top; }
tr { break-inside: avoid; } .n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
tfoot td { font-weight: bold; border-bottom: 0; } .small { font-size: 8.5pt; } .state { text-align: right; }
section { break-inside: auto; } article + article { break-before: page; }
"""


def invoice_page(invoices: Sequence[_Document]) -> str:
    """One HTML document of invoices as `persistence.browsing.show_invoices` gives them, each from a new page."""
    title = ", ".join(each["id"] for each in invoices[:3]) + (", …" if len(invoices) > 3 else "")
    articles = "\n".join(line for each in invoices for line in _article(each))
    return (
        f'<!doctype html>\n<html lang="hr"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n{articles}\n</body></html>\n"
    )


def _article(invoice: _Document) -> Iterator[str]:
    snapshot = invoice["snapshot"]
    state = f"{invoice['state']} {cell(invoice['bill_id'])}" if invoice["bill_id"] else invoice["state"]
    yield f'<article><header><h1>{escape(invoice["id"])}</h1><p class="state">{escape(state)}</p></header>'
    for reason in (invoice["held_reason"], invoice["abort_reason"]):
        if reason:
            yield f"<p>{escape(cell(reason))}</p>"
    if snapshot:
        yield '<div class="parties">'
        yield _party("Izdavatelj", snapshot["location"])
        yield _party("Primatelj", snapshot["network_user"])
        yield "</div>"
    yield f"<p>Razdoblje {invoice['period']}; datum računa {cell(invoice['invoice_date'])}</p>"
    if invoice["lines"]:
        yield from _lines(invoice)
    for calculation in invoice["calculations"]:
        yield from _calculation(calculation)
    history = [[cell(each[name]) for name in ("at", "from_state", "to_state", "actor", "reason")]
               for each in invoice["history"]]  # fmt: skip
    yield "<section><h2>Povijest</h2>"
    yield _table(("vrijeme", "iz", "u", "tko", "zašto"), history, css_class="small")
    yield "</section></article>"


def _party(title: str, party: _Document) -> str:
    person = party["legal_person"]
    address = f"{person.get('postal_code', '')} {person.get('city', '')}"
    rows = (person.get("name"), person.get("address"), address, f"OIB {person.get('oib', '-')}")
    shown = "<br>".join(escape(cell(row)) for row in rows if row and str(row).strip())
    return f"<div><h2>{title}</h2><p>{shown}</p></div>"


def _lines(invoice: _Document) -> Iterator[str]:
    rows = [
        [line["ordinal"], line["name"], line["unit"], line["quantity"], line["price_eur"]] for line in invoice["lines"]
    ]
    totals = (
        ("Ukupno", invoice["total_eur"]),
        (f"PDV {percent(invoice['tax_rate_percent'])} %", invoice["tax_eur"]),
        ("Za platiti", invoice["total_with_tax_eur"]),
    )
    foot = "".join(
        f'<tr><td colspan="4">{escape(name)}</td><td class="n">{cell(amount)} EUR</td></tr>' for name, amount in totals
    )
    yield _table(("r. br.", "stavka", "jedinica", "količina", "EUR"), rows, numbers=(3, 4), foot=foot)


def _calculation(calculation: _Document) -> Iterator[str]:
    place, meter = calculation["measurement_location_id"], calculation["meter_id"]
    yield f"<section><h2>Obračunsko mjerno mjesto {escape(place)}, brojilo {escape(meter)}</h2>"
    rows = [
        [cell(each[name]) for name in ("item", "min", "max", "amount", "price_eur", "total_eur")]
        for each in calculation["items"]
    ]
    titles = ("stavka", "od", "do", "količina", "cijena", "EUR")
    yield _table(titles, rows, numbers=range(1, 6), css_class="small")
    yield "</section>"


def _table(
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Iterable[int] = (),
    foot: str = "",
    css_class: str = "",
) -> str:
    right, css = set(numbers), ' class="n"'

    def row(values: Sequence[str], tag: str) -> str:
        cells = (f"<{tag}{css if place in right else ''}>{escape(value)}</{tag}>" for place, value in enumerate(values))
        return f"<tr>{''.join(cells)}</tr>"

    body = "\n".join(row(values, "td") for values in rows)
    footer = f"<tfoot>{foot}</tfoot>" if foot else ""
    head = f"<thead>{row(titles, 'th')}</thead>"
    return f'<table class="{css_class}">{head}<tbody>{body}</tbody>{footer}</table>'
