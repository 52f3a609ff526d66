"""How the control room writes numbers, instants and lengths of time."""

from datetime import UTC, datetime

from daemon.control_room.markup import Html, tag
from daemon.tables import cell


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
