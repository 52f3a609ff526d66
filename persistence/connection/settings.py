"""Where the database is, who asks, and how long anything may take."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from network.urls import DatabaseUrl


@dataclass(frozen=True)
class ConnectionSettings:
    """Where the database is, who asks, and how long anything may take; a limit of 0 means none.

    `scram_only` refuses to send the password in another way to a server that TLS has not verified.
    `hosts` are tried in order: names with ports, or the paths of sockets. A server that takes no writes is refused,
    unless it is to be `any_server`.
    """

    hosts: tuple[tuple[str, int] | Path, ...]
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    any_server: bool = False
    tls_mode: str = "prefer"
    tls_root_certificate: str | None = None
    scram_only: bool = True
    connect_timeout_seconds: float = 5
    statement_timeout_seconds: float = 30
    lock_timeout_seconds: float = 5
    application_name: str = "billingd"

    @classmethod
    def from_url(cls, url: str, *, password: str | None = None, **limits: Any) -> Self:
        """From a URL as `network.urls.DatabaseUrl` describes it; `password` wins over the URL's.

        Raises ValueError, without the URL in it, since that may hold a password.
        """
        parts = DatabaseUrl.parse(url)
        folder = parts.socket_folder
        return cls(
            hosts=(folder / f".s.PGSQL.{parts.hosts[0][1]}",) if folder else parts.hosts,
            database=parts.database,
            user=parts.user,
            password=parts.password if password is None else password,
            any_server=parts.any_server,
            tls_mode=parts.tls_mode,
            tls_root_certificate=parts.tls_root_certificate,
            **limits,
        )

    @property
    def where(self) -> str:
        """The servers and the database for messages, without password."""
        return f"{','.join(map(host_text, self.hosts))}/{self.database}"

    def without_limits(self) -> Self:
        """The same without limits of statements and locks: for imports, migrations, verifying, archiving."""
        return replace(self, statement_timeout_seconds=0, lock_timeout_seconds=0)


def host_text(host: tuple[str, int] | Path) -> str:
    """A host for messages."""
    return str(host) if isinstance(host, Path) else f"{host[0]}:{host[1]}"
