"""The database for a command."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from cli.invocation import CommandFailed
from config.settings import Settings
from daemon.database import limits, seen_server, server_settings
from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.errors import SchemaMismatch
from persistence.embedded.server import borrowed
from persistence.schema.migrate import check_schema, upgrade


@contextmanager
def database(settings: Settings, name: str, *, unlimited: bool = False, any_schema: bool = False) -> Iterator[Database]:
    """The database for one command; `main` makes one line of each way in which it can be away.

    The embedded server is used where it runs, else started and stopped again, and migrated if need be: it is ours.
    A server's schema is only looked at, and with `any_schema` neither.
    Raises PersistenceError, SecretUnreadable, LockTaken and CommandFailed.
    """
    with (
        _connection(settings, name) as connection,
        Database(connection.without_limits() if unlimited else connection, seen_server=seen_server(settings)) as opened,
    ):
        if not settings.database.embedded:
            opened.refuse_shared_backend()
        if not any_schema:
            _check_or_migrate(opened, migrate=settings.database.embedded)
        yield opened


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


def _check_or_migrate(database: Database, *, migrate: bool) -> None:
    try:
        with database.reading() as reader:
            check_schema(reader)
    except SchemaMismatch:
        if not migrate:
            raise
        upgrade(database)
