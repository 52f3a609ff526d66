"""The templates of all HTML: what is put into one is escaped, and a name that one lacks is an error."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from web import charts
from web.formatting import about, cell, number, percent, utc

_Document = Mapping[str, Any]


def why(invoice: _Document) -> str | None:
    """Why an invoice does not go on, or was ended; None where there is nothing to say."""
    if invoice["held_code"]:
        return f"{invoice['held_code']}: {invoice['held_reason']}"
    return invoice["abort_reason"] and str(invoice["abort_reason"])


def totals(invoice: _Document, total: str, tax: str, to_pay: str) -> tuple[tuple[str, object], ...]:
    """The rows below an invoice's lines, under these titles."""
    return (
        (total, invoice["total_eur"]),
        (f"{tax} {percent(invoice['tax_rate_percent'])} %", invoice["tax_eur"]),
        (to_pay, invoice["total_with_tax_eur"]),
    )


_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    auto_reload=False,
)
_environment.filters |= {
    "about": about, "cell": cell, "number": number, "utc": utc, "why": why, "totals": totals,
    "share_bars": charts.share_bars, "throughput_chart": charts.throughput, "age_chart": charts.age,
}  # fmt: skip
_environment.globals |= {
    "line_fields": ("ordinal", "name", "unit", "quantity", "price_eur"),
    "item_fields": ("item", "min", "max", "amount", "price_eur", "total_eur"),
    "history_fields": ("at", "from_state", "to_state", "actor", "reason"),
}


def render(name: str, /, **context: Any) -> Markup:
    """A page, or a part of one."""
    return Markup(_environment.get_template(name).render(context))


def generate(name: str, /, **context: Any) -> Iterator[str]:
    """A page piece by piece, for one whose rows are too many to be held at once."""
    return _environment.get_template(name).generate(context)
