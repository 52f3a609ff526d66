"""Owns what a URL of the configuration may hold: the ERP's and the webhook's over HTTP, and the database's."""

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_DATABASE_FORM = "postgresql://user@host:port/name"
_DATABASE_OPTIONS = ("host", "sslmode", "sslrootcert", "target_session_attrs")
_TARGETS = ("read-write", "any")
_TLS_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """The parts of `postgresql://user@host:port,host:port/name?sslmode=…&sslrootcert=…&target_session_attrs=…`.

    The hosts are tried in order. `any_server` takes one that is read-only, too. A folder of sockets stands as
    `…@/name?host=/run/postgresql`, or as `…@%2Frun%2Fpostgresql/name`.
    """

    hosts: tuple[tuple[str, int], ...]
    database: str
    user: str
    password: str | None = field(repr=False)
    socket_folder: Path | None
    tls_mode: str
    tls_root_certificate: str | None
    any_server: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, without the URL in it, since that may hold a password."""
        parts = _split(text, several_hosts=True)
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
        places, mode = parts.netloc.rpartition("@")[2], options.get("sslmode", "prefer")
        if mode not in _TLS_MODES:
            raise ValueError(f"sslmode has to be one of {', '.join(_TLS_MODES)}")
        if (target := options.get("target_session_attrs", "read-write")) not in _TARGETS:
            raise ValueError(f"target_session_attrs has to be one of {', '.join(_TARGETS)}")
        folder = options.get("host") or (unquote(places.partition(":")[0]) if places[:3].upper() == "%2F" else None)
        if folder and not folder.startswith("/"):
            raise ValueError("the host behind ? has to be a folder that begins with /")
        if "\0" in unquote(text):
            raise ValueError("a URL has no zero byte (%00) in it")
        hosts = [_split(f"//{place}") for place in places.split(",")]
        return cls(
            hosts=tuple(
                (
                    host_name(host.hostname or "") if "," in places or (host.hostname and not folder) else "localhost",
                    host.port or 5432,
                )
                for host in hosts
            ),
            database=unquote(parts.path.removeprefix("/")),
            user=unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
            socket_folder=Path(folder) if folder else None,
            tls_mode="disable" if folder else mode,
            tls_root_certificate=options.get("sslrootcert"),
            any_server=target == "any",
        )


def host_name(text: str) -> str:
    """An IP address, or a name as the name service takes it: in ASCII, without the dot at its end.

    A certificate never has that dot. Raises ValueError for what can be neither, and never repeats it.
    """
    try:
        name = text if ":" in text else text.removesuffix(".").encode("idna").decode()
        valid = ipaddress.IPv6Address(name) if ":" in name else _NAME.fullmatch(name)
    except ValueError:
        valid = None
    if not valid:
        raise ValueError("the host is no name: parts of 1 to 63 letters, digits, - and _, with single dots between")
    return name


def http_url(text: str) -> str:
    """The URL without a slash at its end. Raises ValueError unless it is http or https with a host, and no more."""
    parts = _split(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("give a URL that starts with http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL may not carry a user or password: use the token file")
    if parts.query or parts.fragment:
        raise ValueError("a URL may not have a ? or # part here")
    host = host_name(parts.hostname)
    place = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=place if parts.port is None else f"{place}:{parts.port}").geturl().rstrip("/")


def masked_url(text: str) -> str:
    """The URL with its password masked."""
    scheme, mark, rest = text.partition("://")
    # The last @ of all ends the password, whatever signs are in it: rather too much is masked than too little.
    login, at, place = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    return f"{scheme}{mark}{user}{':***' if colon else ''}{at}{place}"


def _split(text: str, *, several_hosts: bool = False) -> SplitResult:
    if " " in text or not text.isprintable():
        raise ValueError("a URL has no spaces in it")
    try:
        parts = urlsplit(text)
        port = None if several_hosts else parts.port
    except ValueError as error:
        # The library's own words may repeat the password.
        raise ValueError("this is not a URL: look at its host and port") from error
    if "@" in parts.path + parts.query + parts.fragment or (parts.fragment and parts.scheme == "postgresql"):
        # With one of these in it, a part of the password would be taken for host, path or name.
        raise ValueError("write @ as %40, / as %2F, ? as %3F and # as %23 within the password and behind the host")
    if port == 0:
        raise ValueError("the port has to be from 1 to 65535")
    return parts
