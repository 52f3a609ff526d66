"""The templates of all HTML: values are escaped, and a name that is missing is an error."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from billing.states import State
from web import invoice_tables
from web.formatting import about, cell, number, tries, utc

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
    "about": about, "cell": cell, "number": number, "tries": tries, "utc": utc,
    "why": invoice_tables.why, "totals": invoice_tables.totals,
    "time_words": invoice_tables.time_words, "item_rows": invoice_tables.item_rows,
}  # fmt: skip
_environment.globals |= {
    "line_fields": invoice_tables.LINE_FIELDS, "item_fields": invoice_tables.ITEM_FIELDS,
    "history_fields": invoice_tables.HISTORY_FIELDS, "State": State,
}  # fmt: skip


def render(name: str, /, **context: Any) -> Markup:
    return Markup(_environment.get_template(name).render(context))


def generate(name: str, /, **context: Any) -> Iterator[str]:
    """A page piece by piece, for one whose rows are too many to be held at once."""
    return _environment.get_template(name).generate(context)
