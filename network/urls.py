"""Owns what a URL of the configuration may hold: the ERP's and the webhook's over HTTP, and the database's."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_DATABASE_FORM = "postgresql://user@host:port/name"
_DATABASE_OPTIONS = ("host", "sslmode", "sslrootcert")
_TLS_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """The parts of `postgresql://user@host:port/name?sslmode=…&sslrootcert=…`, or `…@/name?host=/socket/folder`."""

    host: str
    port: int
    database: str
    user: str
    password: str | None = field(repr=False)
    socket_folder: Path | None
    tls_mode: str
    tls_root_certificate: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, without the URL in it, since that may hold a password."""
        parts = _split(text)
        if parts.scheme != "postgresql":
            raise ValueError(f"give `embedded` or {_DATABASE_FORM}")
        if not parts.path.strip("/"):
            raise ValueError(f"the database's name is missing: {_DATABASE_FORM}")
        if not parts.username:
            raise ValueError(f"the user is missing: {_DATABASE_FORM}")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := sorted(options.keys() - _DATABASE_OPTIONS):
            known = ", ".join(_DATABASE_OPTIONS)
            raise ValueError(f"unknown in the URL behind ?: {', '.join(unknown)} (known: {known})")
        folder, mode = options.get("host"), options.get("sslmode", "prefer")
        if mode not in _TLS_MODES:
            raise ValueError(f"sslmode has to be one of {', '.join(_TLS_MODES)}")
        return cls(
            host=parts.hostname or "localhost",
            port=parts.port or 5432,
            database=unquote(parts.path.removeprefix("/")),
            user=unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
            socket_folder=Path(folder) if folder else None,
            tls_mode="disable" if folder else mode,
            tls_root_certificate=options.get("sslrootcert"),
        )


def http_url(text: str) -> str:
    """The URL without a slash at its end. Raises ValueError unless it is http or https with a host, and no more."""
    parts = _split(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("give a URL that starts with http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL may not carry a user or password: use the token file")
    if parts.query or parts.fragment:
        raise ValueError("a URL may not have a ? or # part here")
    return text.rstrip("/")


def masked_url(text: str) -> str:
    """The URL with its password masked."""
    scheme, mark, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    # As in reading it: the last @ ends the password, however many are in it.
    login, at, host = authority.rpartition("@")
    user, colon, _ = login.partition(":")
    return f"{scheme}{mark}{user}{':***' if colon else ''}{at}{host}{slash}{path}"


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - reading it is what raises when the port is no number
    except ValueError as error:
        # The library's own words may repeat the password.
        raise ValueError("this is not a URL: look at its host and port") from error
    if re.search(r"\s", text):
        raise ValueError("a URL has no spaces in it")
    return parts
