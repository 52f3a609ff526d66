"""What every rendering of an invoice shows: the fields of its tables, its totals, and why it does not go on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from web.formatting import percent

LINE_FIELDS = ("ordinal", "name", "unit", "quantity", "price_eur")
ITEM_FIELDS = ("item", "min", "max", "amount", "price_eur", "total_eur")
HISTORY_FIELDS = ("at", "from_state", "to_state", "actor", "reason")
EXCHANGE_FIELDS = ("first_at", "last_at", "times", "method", "status", "outcome", "detail")

_Document = Mapping[str, Any]


def rows(entries: Iterable[_Document], fields: Sequence[str]) -> list[list[Any]]:
    return [[entry[field] for field in fields] for entry in entries]


def totals(invoice: _Document, total: str, tax: str, to_pay: str) -> tuple[tuple[str, object], ...]:
    """The rows below an invoice's lines, under these titles."""
    return (
        (total, invoice["total_eur"]),
        (f"{tax} {percent(invoice['tax_rate_percent'])} %", invoice["tax_eur"]),
        (to_pay, invoice["total_with_tax_eur"]),
    )


def why(invoice: _Document) -> str | None:
    """Why an invoice does not go on, or was ended; None where there is nothing to say."""
    if invoice["held_code"]:
        return f"{invoice['held_code']}: {invoice['held_reason']}"
    return invoice["abort_reason"] and str(invoice["abort_reason"])
