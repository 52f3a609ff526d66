"""One invoice as text: parties, lines, totals, calculations, history and exchanges with the ERP."""

from collections.abc import Iterator, Mapping
from typing import Any

from billing.states import State
from cli.output import columns
from web.formatting import cell
from web.invoice_tables import (
    EXCHANGE_FIELDS,
    HISTORY_FIELDS,
    ITEM_FIELDS,
    LINE_FIELDS,
    item_rows,
    rows,
    time_words,
    totals,
    why,
)

_WIDTH = 106
_Document = Mapping[str, Any]


def invoice_lines(invoice: _Document) -> Iterator[str]:
    """The lines of one invoice as `persistence.invoices.listing.show_invoices` gives it."""
    yield "═" * _WIDTH
    yield f"INVOICE {invoice['id']}".ljust(_WIDTH // 2) + _state(invoice).rjust(_WIDTH // 2)
    yield "═" * _WIDTH
    yield from columns(("", ""), list(_head(invoice)))
    if invoice["lines"]:
        yield ""
        yield from _lines(invoice)
    for calculation in invoice["calculations"]:
        yield ""
        yield from _calculation(calculation)
    yield ""
    yield "History"
    history = rows(invoice["history"], HISTORY_FIELDS)
    yield from columns(("at", "from", "to", "by", "why"), history, indent="  ")
    if invoice["exchanges"]:
        yield ""
        yield "Exchanges with the ERP"
        titles = ("first", "last", "times", "method", "status", "outcome", "detail")
        yield from columns(titles, rows(invoice["exchanges"], EXCHANGE_FIELDS), right=("times",), indent="  ")


def _state(invoice: _Document) -> str:
    return f"{invoice['state']} as {cell(invoice['bill_id'])}" if invoice["bill_id"] else str(invoice["state"])


def _head(invoice: _Document) -> Iterator[tuple[str, object]]:
    snapshot = invoice["snapshot"]
    if snapshot:
        yield "From", _party(snapshot["location"]["legal_person"])
        yield "To", _party(snapshot["network_user"]["legal_person"])
    else:
        yield "To", invoice["network_user_id"]
    span = f" ({snapshot['period_start']} to {snapshot['period_end']})" if snapshot else ""
    yield "Period", f"{invoice['period']}{span}"
    if invoice["invoice_date"]:
        yield "Date", invoice["invoice_date"]
    if snapshot:
        yield "Sub-project", snapshot["altibiz_sub_project_code"]
    if invoice["held_code"]:
        yield "Held" if invoice["state"] == State.HELD else "Waits", why(invoice)
        yield "What to do", f"billingd alarms explain {invoice['held_code']}"
    for remark in (snapshot or {}).get("remarks", ()):
        yield "Remark", cell(remark)
    if invoice["abort_reason"]:
        yield "Aborted", invoice["abort_reason"]
    yield "Offers", f"{invoice['attempts']} begun"
    if invoice["next_attempt_at"]:
        yield "Next try", invoice["next_attempt_at"]


def _party(person: _Document) -> str:
    return f"{person['name']}, {person['address']}, {person['postal_code']} {person['city']}, OIB {person['oib']}"


def _lines(invoice: _Document) -> Iterator[str]:
    titles = ("no.", "what", "unit", "quantity", "EUR")
    drawn = list(columns(titles, rows(invoice["lines"], LINE_FIELDS), right=titles[3:]))
    width = max(map(len, drawn))
    yield drawn[0]
    yield "─" * width
    yield from drawn[1:]
    yield "─" * width
    for title, amount in totals(invoice, "Total", "Tax", "To pay"):
        yield title + cell(amount).rjust(width - len(title))


def _calculation(calculation: _Document) -> Iterator[str]:
    place, meter, kind = (calculation[name] for name in ("measurement_location_id", "meter_id", "catalogue_kind"))
    yield f"Measurement location {place}, meter {meter}, {kind}"
    titles = ("item", "from", "to", "amount", "price", "EUR")
    for words in time_words(calculation):
        yield f"  {words}"
    yield from columns(titles, rows(item_rows(calculation["items"]), ITEM_FIELDS), right=titles[1:], indent="  ")
