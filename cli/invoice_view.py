"""An invoice as a person would draw it: parties, lines and total, then what it was calculated from and its past."""

from collections.abc import Iterator, Mapping
from typing import Any

from cli.output import columns
from web.formatting import cell, percent

_WIDTH = 106
_Document = Mapping[str, Any]


def invoice_lines(invoice: _Document) -> Iterator[str]:
    """The lines of one invoice as `persistence.browsing.show_invoices` gives it."""
    yield "═" * _WIDTH
    yield f"INVOICE {invoice['id']}".ljust(_WIDTH // 2) + _standing(invoice).rjust(_WIDTH // 2)
    yield "═" * _WIDTH
    yield from _head(invoice)
    if invoice["lines"]:
        yield ""
        yield from _lines(invoice)
    for calculation in invoice["calculations"]:
        yield ""
        yield from _calculation(calculation)
    yield ""
    yield "History"
    names: tuple[str, ...] = ("at", "from_state", "to_state", "actor", "reason")
    history = [[each[name] for name in names] for each in invoice["history"]]
    yield from columns(("at", "from", "to", "by", "why"), history, indent="  ")
    if invoice["exchanges"]:
        yield ""
        yield "Exchanges with the ERP"
        names = ("first_at", "last_at", "times", "method", "status", "outcome", "detail")
        exchanges = [[each[name] for name in names] for each in invoice["exchanges"]]
        titles = ("first", "last", "times", "method", "status", "outcome", "detail")
        yield from columns(titles, exchanges, right=("times",), indent="  ")


def _standing(invoice: _Document) -> str:
    if invoice["bill_id"]:
        return f"{invoice['state']} as {cell(invoice['bill_id'])}"
    return str(invoice["state"])


def _head(invoice: _Document) -> Iterator[str]:
    snapshot = invoice["snapshot"]
    rows: list[tuple[str, object]] = []
    for title, party in (("From", snapshot.get("location")), ("To", snapshot.get("network_user"))):
        if party:
            rows.append((title, _party(party["legal_person"])))
    if not snapshot:
        rows.append(("To", invoice["network_user_id"]))
    span = f" ({snapshot['period_start']} to {snapshot['period_end']})" if snapshot else ""
    rows.append(("Period", f"{invoice['period']}{span}"))
    if invoice["invoice_date"]:
        rows.append(("Date", invoice["invoice_date"]))
    if snapshot:
        rows.append(("Sub-project", snapshot["altibiz_sub_project_code"]))
    if invoice["held_code"]:
        title = "Held" if invoice["state"] == "held" else "Waits"
        rows.append((title, f"{invoice['held_code']}: {invoice['held_reason']}"))
        rows.append(("What to do", f"billingd alarms explain {invoice['held_code']}"))
    if invoice["abort_reason"]:
        rows.append(("Aborted", invoice["abort_reason"]))
    rows.append(("Offers", f"{invoice['attempts']} begun"))
    if invoice["next_attempt_at"]:
        rows.append(("Next try", invoice["next_attempt_at"]))
    yield from columns(("", ""), rows)


def _party(person: _Document) -> str:
    return f"{person['name']}, {person['address']}, {person['postal_code']} {person['city']}, OIB {person['oib']}"


def _lines(invoice: _Document) -> Iterator[str]:
    rows = [
        (each["ordinal"], each["name"], each["unit"], each["quantity"], each["price_eur"]) for each in invoice["lines"]
    ]
    drawn = list(columns(("no.", "what", "unit", "quantity", "EUR"), rows, right=("quantity", "EUR")))
    width = max(map(len, drawn))
    yield drawn[0]
    yield "─" * width
    yield from drawn[1:]
    yield "─" * width
    totals = (
        ("Total", invoice["total_eur"]),
        (f"Tax {percent(invoice['tax_rate_percent'])} %", invoice["tax_eur"]),
        ("To pay", invoice["total_with_tax_eur"]),
    )
    for title, amount in totals:
        yield title + cell(amount).rjust(width - len(title))


def _calculation(calculation: _Document) -> Iterator[str]:
    place, meter, kind = (calculation[name] for name in ("measurement_location_id", "meter_id", "catalogue_kind"))
    yield f"Measurement location {place}, meter {meter}, {kind}"
    names = ("item", "min", "max", "amount", "price_eur", "total_eur")
    rows = [[each[name] for name in names] for each in calculation["items"]]
    titles = ("item", "from", "to", "amount", "price", "EUR")
    yield from columns(titles, rows, right=titles[1:], indent="  ")
