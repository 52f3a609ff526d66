"""Opens a session: which of the hosts is taken, what the session sets for itself, and which servers are refused."""

import ssl
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

from pg8000.exceptions import DatabaseError
from pg8000.exceptions import Error as DriverError

from persistence.connection.errors import DatabaseUnreachable, PersistenceError, ServerUnsuitable
from persistence.connection.seen_server import SeenServer
from persistence.connection.session import Session
from persistence.connection.settings import ConnectionSettings, host_text
from persistence.connection.sockets import Address, addresses_of, open_socket, tls
from persistence.connection.translation import translate

T = TypeVar("T")
_last_silence: dict[object, float] = {}
"""When a host, or an address, last let its share of the time pass without an answer, on the monotonic clock."""
OLDEST_SERVER = 14
"""The oldest major version of PostgreSQL that is supported."""
_TRANSACTION_TIMEOUT_SINCE = 17


def open_session(settings: ConnectionSettings, seen_server: SeenServer | None = None) -> Session:
    """A session with the first host that answers and takes writes, ready for its first transaction.

    A server that is older than the one that was seen is left like one that doesn't answer. All hosts, and all addresses
    of each, share the time for connecting fairly; those that were silent the last time come last. A name is resolved
    at each call.
    Raises DatabaseUnreachable, CredentialsRefused, DatabaseFailed, ServerUnsuitable: with several hosts the first of
    them that is not DatabaseUnreachable, with the words of all.
    """
    until = time.monotonic() + settings.connect_timeout_seconds
    failures: list[PersistenceError] = []
    for host, host_until in _shares(settings.hosts, until):
        where = f"{host_text(host)}/{settings.database}"
        try:
            with connecting(where):
                return _of_host(settings, host, where, host_until, seen_server)
        except PersistenceError as error:
            failures.append(error)
    telling = next((each for each in failures if not isinstance(each, DatabaseUnreachable)), failures[0])
    if len(failures) > 1:
        telling.args = ("; ".join(map(str, failures)),)
    raise telling


def _shares(candidates: Sequence[T], until: float) -> Generator[tuple[T, float], None, None]:
    """Each with the instant until which it may be tried: what is left is shared among those that are left.

    The caller asks for the next only if one has failed. A frozen machine so costs its share once, and not each session.
    """
    for number, each in enumerate(sorted(candidates, key=lambda each: _last_silence.get(each, 0.0))):
        now = time.monotonic()
        share_until = now + max(0.1, (until - now) / (len(candidates) - number))
        yield each, share_until
        if time.monotonic() >= share_until:
            _last_silence[each] = share_until
        else:
            _last_silence.pop(each, None)


def _of_host(
    settings: ConnectionSettings, host: tuple[str, int] | Path, where: str, until: float, seen_server: SeenServer | None
) -> Session:
    """Raises the driver's errors and OSError, the last address's, and PersistenceError."""
    failure: Exception = OSError("the name has no address")
    for address, address_until in _shares(addresses_of(host, until - time.monotonic()), until):
        try:
            return _session(settings, host, address, where, address_until - time.monotonic(), seen_server)
        except (DriverError, OSError, DatabaseUnreachable) as error:
            failure = error
    raise failure


def _session(
    settings: ConnectionSettings, host: tuple[str, int] | Path, address: Address, where: str, seconds: float,
    seen_server: SeenServer | None,
) -> Session:  # fmt: skip
    is_local = isinstance(host, Path)
    security = tls("disable" if is_local else settings.tls_mode, settings.tls_root_certificate)
    is_verified = isinstance(security, ssl.SSLContext) and security.verify_mode == ssl.CERT_REQUIRED
    session = Session(
        open_socket(address, seconds),
        where,
        settings.statement_timeout_seconds,
        user=settings.user,
        password=settings.password or "",
        host=None if isinstance(host, Path) else host[0],
        database=settings.database,
        ssl_context=security,
        scram_only=settings.scram_only and not is_local and not is_verified,
    )
    with ExitStack() as if_failed:
        if_failed.callback(session.close)
        _set_up(session, settings)
        if seen_server is not None and not settings.any_server:
            seen_server.check(session)
        if_failed.pop_all()
    return session


def _set_up(session: Session, settings: ConnectionSettings) -> None:
    """Sets what the session relies on; raises PersistenceError for a server that can't be used."""
    said = session.parameter_statuses["server_version"]
    version = int(said.split(".")[0].split()[0])
    if version < OLDEST_SERVER:
        raise ServerUnsuitable(f"database {session.where}: PostgreSQL {said} is too old: use {OLDEST_SERVER} or later")
    in_recovery, read_only, replication_role, session.backend = session.set_up(_statements(settings, version))
    if settings.any_server:
        return
    if in_recovery:
        raise DatabaseUnreachable(f"database {session.where} takes no writes: the server is in recovery, a standby")
    if replication_role != "origin":  # nothing would be guarded: no trigger fires
        _put_right(session, "session_replication_role", "origin")
    if read_only == "on":
        _put_right(session, "default_transaction_read_only", "off")


def _put_right(session: Session, name: str, value: str) -> None:
    """Overrides what the role carries; what stands for the database or the server was set to keep writers off."""
    (source,) = session.set_up(f"SELECT source FROM pg_settings WHERE name = '{name}'")
    reason = f"database {session.where} takes no writes: its {name} is not {value} (set by: {source})"
    if source not in ("user", "database user"):
        raise DatabaseUnreachable(reason)
    try:
        session.set_up(f"SET {name} TO {value}; SELECT 1")
    except DatabaseError as error:
        raise DatabaseUnreachable(f"{reason}, and this user may not change it") from error


def _statements(settings: ConnectionSettings, version: int) -> str:
    statement_seconds = settings.statement_timeout_seconds
    terms = {
        "statement_milliseconds": _milliseconds(statement_seconds),
        "lock_milliseconds": _milliseconds(settings.lock_timeout_seconds),
        "idle_milliseconds": _milliseconds(statement_seconds and statement_seconds + 30),
        "application_name": "'{}'".format(settings.application_name.replace("'", "''")),
        "SET transaction_timeout TO 0;": "SET transaction_timeout TO 0;"
        if version >= _TRANSACTION_TIMEOUT_SINCE
        else "",
    }
    statements = _template()
    for name, value in terms.items():
        statements = statements.replace(f"{{{name}}}", value)
    return statements


@cache
def _template() -> str:
    lines = Path(__file__).with_name("session.sql").read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if line and not line.startswith("--"))


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000)) if seconds == 0 else str(max(1, round(seconds * 1000)))


@contextmanager
def connecting(where: str) -> Generator[None, None, None]:
    """Turns whatever a connection fails with into our errors."""
    try:
        yield
    except (DriverError, OSError) as error:
        raise (translate(error, where, connecting=True, committing=False) or error) from error
    except (KeyError, ValueError, AttributeError, IndexError) as error:
        raise DatabaseUnreachable(f"what answers at {where} is no PostgreSQL server: check host and port") from error
