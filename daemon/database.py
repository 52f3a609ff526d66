"""The connection settings of the configured database: address, password and time limits."""

from dataclasses import replace
from typing import Any

from config.secrets import database_password
from config.settings import Settings
from persistence.connection.database import ConnectionSettings
from persistence.connection.seen_server import SeenServer
from persistence.embedded.server import EmbeddedServer


def seen_server(settings: Settings, *, only_refuses: bool = True) -> SeenServer:
    """The database's server as this machine's daemon has seen it last; a command only refuses an older one."""
    return SeenServer(settings.state_dir / "database-seen", only_refuses=only_refuses)


def limits(settings: Settings, name: str) -> dict[str, Any]:
    """The limits of a session, and the name that the server shows for it."""
    return {
        "scram_only": settings.database.password_exchange == "scram",
        "connect_timeout_seconds": settings.database.connect_timeout_seconds,
        "statement_timeout_seconds": settings.database.statement_timeout_seconds,
        "lock_timeout_seconds": settings.database.lock_timeout_seconds,
        "application_name": f"billingd {name}",
    }


def server_settings(settings: Settings, name: str) -> ConnectionSettings:
    """How to reach the database server of the configuration. Raises SecretUnreadable, ValueError."""
    password = database_password(settings)
    return ConnectionSettings.from_url(
        settings.database.url.get_secret_value(),
        password=password.get_secret_value() if password else None,
        **limits(settings, name),
    )


def present_settings(settings: Settings, name: str, **more: Any) -> ConnectionSettings:
    """How to reach the database as it stands: nothing is started for it. `more` replaces limits.

    Raises OSError for an embedded server that does not run, SecretUnreadable, ValueError.
    """
    if not settings.database.embedded:
        return replace(server_settings(settings, name), **more)
    server = EmbeddedServer(settings.state_dir)
    if server.pid is None:
        raise OSError("the embedded server is not running")
    return server.settings(**limits(settings, name) | more)
