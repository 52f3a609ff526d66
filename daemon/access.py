"""How the daemon and its commands come to the database, and what its errors look like to people."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from config.secrets import SecretUnreadable, database_password
from config.settings import Settings
from daemon.invocation import CommandFailed
from persistence.database import ConnectionSettings, Database
from persistence.embedded import LockTaken, borrowed
from persistence.errors import PersistenceError, SchemaMismatch
from persistence.migrate import check_schema, upgrade


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
def database(settings: Settings, name: str, *, unlimited: bool = False, any_schema: bool = False) -> Iterator[Database]:
    """The database for one command; every way in which it can be away ends the command with one line.

    The embedded server is used where it runs, else started and stopped again, and migrated if need be: it is ours.
    A server's schema is only looked at, and with `any_schema` neither. Raises CommandFailed.
    """
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(_connection(settings, name))
            opened = stack.enter_context(Database(connection.without_limits() if unlimited else connection))
            if not any_schema:
                _see_to_schema(opened, ours=settings.database.embedded)
            yield opened
            stack.close()  # within the try: stopping the embedded server may fail too
        except (PersistenceError, SecretUnreadable, LockTaken) as error:
            raise CommandFailed(str(error)) from error


@contextmanager
def _connection(settings: Settings, name: str) -> Iterator[ConnectionSettings]:
    if not settings.database.embedded:
        try:
            connection = server_settings(settings, name)
        except ValueError as error:
            raise CommandFailed(f"the configuration can't be used: database.url: {error}") from error
        yield connection
        return
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(borrowed(settings.state_dir, f"billingd {name}", **limits(settings, name)))
        except OSError as error:
            raise CommandFailed(
                f"cannot use the state directory {settings.state_dir} (key state_dir): "
                f"{(error.strerror or str(error)).lower()}" + (f": {error.filename}" if error.filename else "")
            ) from error
        yield connection


def _see_to_schema(database: Database, *, ours: bool) -> None:
    try:
        with database.reading() as reader:
            check_schema(reader)
    except SchemaMismatch:
        if not ours:
            raise
        upgrade(database)
