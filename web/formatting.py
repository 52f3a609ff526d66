"""How values are written for people and in JSON."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

from billing.instants import format_instant

NO_REASON = "none given"
"""What is kept where a person gives no reason (docs/spec/interfaces.md, "Commands")."""


def cell(value: object) -> str:
    """One value on one line, without control characters."""
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    if isinstance(value, Decimal):
        return format(value, "f")
    return on_one_line(str(value))


def on_one_line(text: str) -> str:
    """Text without control characters, which could steer a terminal."""
    return text if text.isprintable() else "".join(_printable(each) for each in text)


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else f"\\x{ord(character):02x}"


def plain(value: object) -> object:
    """What JSON has no form for: decimals and paths as strings, instants with Z (docs/spec/interfaces.md, "JSON")."""
    if isinstance(value, Decimal | Path):
        return str(value)
    if isinstance(value, datetime):
        return format_instant(value)
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
    return "under 2\u202fmin" if seconds < 120 else duration(seconds).replace(" ", "\u202f")


def duration(seconds: float) -> str:
    """A length of time in the largest unit of which there are at least two."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def tries(part: Mapping[str, Any], at: datetime | str | None, *, well: bool) -> str:
    """When database or ERP, a part of a status document of the instant `at`, was tried last and will be next."""
    if well or at is None or part.get("tried_at") is None:
        return ""
    tried, upcoming = (utc(at) - utc(part["tried_at"])).total_seconds(), part.get("next_try_at")
    following = f"next try in {duration((utc(upcoming) - utc(at)).total_seconds())}" if upcoming else "being tried now"
    return f", tried {duration(tried)} ago, {following}"


def utc(instant: datetime | str) -> datetime:
    """An instant as documents have it, in UTC."""
    return (datetime.fromisoformat(instant) if isinstance(instant, str) else instant).astimezone(UTC)
