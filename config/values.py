"""The kinds of values a setting may have, each with the check that refuses what can't work."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from network import urls

EMBEDDED = "embedded"
_CRON_FIELDS = 5


@dataclass(frozen=True)
class TcpAddress:
    """An address to listen on; `host` without brackets, `port` 0 stands for any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class UnixAddress:
    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


def parse_listen(text: str) -> TcpAddress | UnixAddress | None:
    """Return the address that `host:port`, `[v6]:port` or `unix:/path` names, None for `off`.

    Raises ValueError when it is none of these.
    """
    if text == "off":
        return None
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:"))
        if not path.is_absolute():
            raise ValueError("the path behind unix: has to start with /")
        return UnixAddress(path)
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("give host:port (port 0 to 65535), unix:/path or off")
    return TcpAddress(urls.host_name(host), int(port))


def _database_url(secret: SecretStr) -> SecretStr:
    if (text := secret.get_secret_value()) != EMBEDDED:
        urls.DatabaseUrl.parse(text)
    return secret


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("there is no such time zone: give a name like Europe/Zagreb") from error
    return name


def _cron(expression: str) -> str:
    if len(expression.split()) != _CRON_FIELDS:
        raise ValueError("give five fields: minute, hour, day of month, month, day of week")
    try:
        # Any start will do: cronsim gives up by itself when nothing matches for 50 years.
        next(CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC)))
    except StopIteration as error:
        raise ValueError("this schedule never ticks") from error
    except CronSimError as error:
        never = "Bad day-of-month" in str(error) and re.fullmatch(r"[\d,]+", expression.split()[2])
        reason = "is wrong, or there is no such day in its months, so that it never ticks" if never else "is wrong"
        field = str(error).removeprefix("Bad ")
        raise ValueError(f"the {field} {reason} (cron: minute hour day month weekday)") from error
    return expression


def _listen(text: str) -> str:
    parse_listen(text)
    return text


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"this is not a regular expression: {error}") from error
    return text


def _one_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("give one line of printable text that is not empty")
    return text


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("give a number")
    return value


Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A duration; may be fractional."""
Count = Annotated[int, Field(strict=True)]
Percent = Annotated[Decimal, BeforeValidator(_number), Field(ge=0, le=100)]
HttpUrl = Annotated[str, AfterValidator(urls.http_url)]
"""http or https, with the path, without a slash at its end."""
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
"""`embedded` or postgresql://; secret, since it may hold the password."""
TimeZoneName = Annotated[str, AfterValidator(_time_zone)]
CronExpression = Annotated[str, AfterValidator(_cron)]
ListenAddress = Annotated[str, AfterValidator(_listen)]
Pattern = Annotated[str, AfterValidator(_pattern)]
"""A regular expression of Python, searched for anywhere in the text."""
Line = Annotated[str, AfterValidator(_one_line), Field(max_length=200)]
