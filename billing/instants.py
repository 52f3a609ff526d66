"""How an instant is written: ISO 8601 in UTC with Z."""

from datetime import UTC, datetime


def format_instant(instant: datetime, timespec: str = "auto") -> str:
    """Writes an aware instant; `timespec` as in `datetime.isoformat`."""
    return instant.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
