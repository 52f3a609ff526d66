"""The connection settings of the configured database: address, password and time limits."""

from typing import Any

from config.secrets import database_password
from config.settings import Settings
from persistence.connection.database import ConnectionSettings


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
