"""How commands show rows to people: columns of text, the same on a terminal and in a pipe."""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from billing.rounding import format_plain

_GAP = "  "


def cell(value: object) -> str:
    """One value on one line; what others sent can't steer the terminal."""
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    if isinstance(value, Decimal):
        return format(value, "f")
    text = " ".join(str(value).split())
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


def percent(value: Decimal) -> str:
    """A percentage without trailing zeros."""
    return format_plain(value)


def columns(
    header: Sequence[str], rows: Sequence[Sequence[object]], *, right: Collection[str] = (), indent: str = ""
) -> Iterator[str]:
    """Lines of aligned columns; those named in `right` to the right. A header of empty names is left out."""
    texts = [[cell(value) for value in row] for row in rows]
    widths = [max(len(row[place]) for row in [header, *texts]) for place in range(len(header))]
    for row in [header, *texts] if any(header) else texts:
        padded = (
            text.rjust(width) if name in right else text.ljust(width)
            for name, text, width in zip(header, row, widths, strict=True)
        )
        yield indent + _GAP.join(padded).rstrip()
