"""The kinds of values a setting may have, each with the check that refuses what can't work."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, parse_qsl, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

EMBEDDED = "embedded"
_CRON_FIELDS = 5
_DATABASE_OPTIONS = {"host", "sslmode", "sslrootcert"}
_TLS_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True)
class TcpAddress:
    """An address to listen on; `host` without brackets, `port` 0 stands for any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class UnixAddress:
    """A unix socket to listen on."""

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
    return TcpAddress(host, int(port))


def _split_url(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - reading it is what raises when the port is no number
    except ValueError as error:
        # The library's own words may repeat the password.
        raise ValueError("this is not a URL: look at its host and port") from error
    if re.search(r"\s", text):
        raise ValueError("a URL has no spaces in it")
    return parts


def _http_url(text: str) -> str:
    parts = _split_url(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("give a URL that starts with http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL may not carry a user or password: use the token file")
    if parts.query or parts.fragment:
        raise ValueError("a URL may not have a ? or # part here")
    return text.rstrip("/")


def _database_url(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if text == EMBEDDED:
        return secret
    parts = _split_url(text)
    if parts.scheme != "postgresql":
        raise ValueError("give `embedded` or postgresql://user@host:port/name")
    if not parts.path.strip("/"):
        raise ValueError("the database's name is missing: postgresql://user@host:port/name")
    if not parts.username:
        raise ValueError("the user is missing: postgresql://user@host:port/name")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(set(options) - _DATABASE_OPTIONS):
        known = ", ".join(sorted(_DATABASE_OPTIONS))
        raise ValueError(f"unknown in the URL behind ?: {', '.join(unknown)} (known: {known})")
    if options.get("sslmode", "prefer") not in _TLS_MODES:
        raise ValueError(f"sslmode has to be one of {', '.join(_TLS_MODES)}")
    return secret


def masked_url(text: str) -> str:
    """Return `text` with the password of the URL masked."""
    scheme, mark, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    # As in reading it: the last @ ends the password, however many are in it.
    login, at, host = authority.rpartition("@")
    user, colon, _ = login.partition(":")
    return f"{scheme}{mark}{user}{':***' if colon else ''}{at}{host}{slash}{path}"


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
HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""http or https, with the path, without a slash at its end."""
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
"""`embedded` or postgresql://; secret, since it may hold the password."""
TimeZoneName = Annotated[str, AfterValidator(_time_zone)]
CronExpression = Annotated[str, AfterValidator(_cron)]
ListenAddress = Annotated[str, AfterValidator(_listen)]
Pattern = Annotated[str, AfterValidator(_pattern)]
"""A regular expression of Python, searched for anywhere in the text."""
Line = Annotated[str, AfterValidator(_one_line), Field(max_length=200)]
