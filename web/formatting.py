"""How values are written for people and in JSON."""

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path

from billing.rounding import format_plain
from web.markup import Html, tag

NO_REASON = "none given"
"""What is kept where a person gives no reason (interfaces.md, Commands)."""


def cell(value: object) -> str:
    """One value on one line; what others sent can't steer the terminal."""
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    if isinstance(value, Decimal):
        return format(value, "f")
    return on_one_line(str(value))


def on_one_line(text: str) -> str:
    """Text without what can steer a terminal."""
    return text if text.isprintable() else "".join(_printable(each) for each in text)


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else f"\\x{ord(character):02x}"


def percent(value: Decimal) -> str:
    """A percentage without trailing zeros."""
    return format_plain(value)


def plain(value: object) -> object:
    """What JSON has no form for: decimals and paths as strings, instants in UTC with Z (interfaces, Commands)."""
    if isinstance(value, Decimal | Path):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def number(value: int) -> str:
    """With thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def about(seconds: float) -> str:
    """A length of time in one unit, so that a page does not change each second."""
    for length, unit in ((2 * 86400, "d"), (2 * 3600, "h"), (120, "min")):
        if seconds >= length:
            return f"{seconds / {'d': 86400, 'h': 3600, 'min': 60}[unit]:.0f}\u202f{unit}"
    return "under 2\u202fmin"


def at(instant: datetime | str | None) -> Html | None:
    """An instant, in UTC."""
    if instant is None:
        return None
    value = datetime.fromisoformat(instant) if isinstance(instant, str) else instant
    return tag("time", cell(value), datetime=value.astimezone(UTC).isoformat())


def chip(state: str) -> Html:
    """A state or severity in its colour; what it is stands there too."""
    return tag("span", state.replace("_", " "), class_=f"chip {state}")
