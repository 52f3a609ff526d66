"""What every rendering of an invoice shows: the fields of its tables, its totals, and why it does not go on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from billing.rounding import format_plain

LINE_FIELDS = ("ordinal", "name", "unit", "quantity", "price_eur")
ITEM_FIELDS = ("item", "min", "max", "amount", "price_eur", "total_eur")
HISTORY_FIELDS = ("at", "from_state", "to_state", "actor", "reason")
EXCHANGE_FIELDS = ("first_at", "last_at", "times", "method", "status", "outcome", "detail")

_Document = Mapping[str, Any]


def rows(entries: Iterable[_Document], fields: Sequence[str]) -> list[list[Any]]:
    return [[entry[field] for field in fields] for entry in entries]


def segment_words(segment: _Document) -> str:
    """Which meter measured from when until when, and where the registers are those of an exchange's protocol."""
    said = f", {' and '.join(segment['protocol'])} as in the exchange's protocol" if "protocol" in segment else ""
    return f"meter {segment['meter_id']} from {segment['from']} until {segment['until']}{said}"


def gap_words(gap: _Document) -> str:
    """A time that is billed to nobody."""
    return f"from {gap['from']} until {gap['until']} it is billed to nobody"


def time_words(calculation: _Document) -> list[str]:
    """The segments and gaps of a calculation; none where one meter measured the whole period."""
    return [*map(segment_words, calculation.get("segments", ())), *map(gap_words, calculation.get("gaps", ()))]


def item_rows(items: Iterable[_Document]) -> list[_Document]:
    """The items for a table: the readings of several segments stand one below the other."""
    return [
        {**item, **{end: " / ".join(part[end] for part in item["segments"]) for end in ("min", "max")}}
        if "segments" in item
        else item
        for item in items
    ]


def totals(invoice: _Document, total: str, tax: str, to_pay: str) -> tuple[tuple[str, object], ...]:
    """The rows below an invoice's lines, under these titles."""
    return (
        (total, invoice["total_eur"]),
        (f"{tax} {format_plain(invoice['tax_rate_percent'])} %", invoice["tax_eur"]),
        (to_pay, invoice["total_with_tax_eur"]),
    )


def why(invoice: _Document) -> str | None:
    """Why an invoice does not go on, or was ended; None where there is nothing to say."""
    if invoice["held_code"]:
        return f"{invoice['held_code']}: {invoice['held_reason']}"
    return invoice["abort_reason"] and str(invoice["abort_reason"])
