"""How the daemon and its commands come to the database, and what its errors look like to people."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from config.secrets import SecretUnreadable, database_password
from config.settings import Settings
from daemon.invocation import CommandFailed
from persistence.database import ConnectionSettings, Database
from persistence.embedded import LockTaken, borrowed
from persistence.errors import PersistenceError


def limits(settings: Settings, name: str) -> dict[str, Any]:
    """The time limits of a session, and the name that the server shows for it."""
    return {
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


@contextmanager
def database(settings: Settings, name: str, *, unlimited: bool = False) -> Iterator[Database]:
    """The database for one command; every way in which it can be away ends the command with one line.

    The embedded server is used where it runs, else started and stopped again. Raises CommandFailed.
    """
    try:
        if settings.database.embedded:
            with borrowed(settings.state_dir, f"billingd {name}", **limits(settings, name)) as connection:
                with Database(connection.without_limits() if unlimited else connection) as opened:
                    yield opened
        else:
            connection = server_settings(settings, name)
            with Database(connection.without_limits() if unlimited else connection) as opened:
                yield opened
    except (PersistenceError, SecretUnreadable, LockTaken) as error:
        raise CommandFailed(str(error)) from error
    except PermissionError as error:
        raise CommandFailed(
            f"cannot use the state directory {settings.state_dir} (key state_dir): {error.strerror}: {error.filename}"
        ) from error
