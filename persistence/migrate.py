"""The schema's version: what the database has, what this program needs, and the way from one to the other."""

import functools
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from persistence.database import Database
from persistence.errors import SchemaMismatch

__all__ = ["check_schema", "current_revision", "expected_revision", "upgrade"]

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATING_LOCK = 7_240_062


def upgrade(database: Database) -> bool:
    """Creates or migrates the schema, in one transaction; True if there was anything to do.

    Several callers at once wait for each other. Without limits on time, on a connection of its own.
    Raises SchemaMismatch if the schema is newer than this program, and as `Database.transaction` does.
    """
    with Database(database.settings.without_limits()) as unlimited, unlimited.transaction() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATING_LOCK})
        current = current_revision(connection)
        if current == expected_revision():
            return False
        _refuse_unknown(current, database.settings.where)
        configuration = _configuration()
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, "head")
        return True


def check_schema(connection: Connection, where: str | None = None) -> None:
    """Raises SchemaMismatch if the schema isn't the one that this program needs; `where` is for its message."""
    where = where or str(getattr(connection.connection.dbapi_connection, "where", ""))
    current = current_revision(connection)
    if current == expected_revision():
        return
    _refuse_unknown(current, where)
    what = "has no schema" if current is None else f"has the older schema {current}, not {expected_revision()}"
    raise SchemaMismatch(f"the database {where} {what}: run `billingd db upgrade`")


def current_revision(connection: Connection) -> str | None:
    """The schema's version in the database; None if it has none."""
    if connection.execute(text("SELECT to_regclass('alembic_version') IS NULL")).scalar_one():
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if revision is None else str(revision)


@functools.cache
def expected_revision() -> str:
    """The schema's version that this program needs."""
    head = _scripts().get_current_head()
    assert head is not None, "migrations are part of the program"
    return head


def _refuse_unknown(current: str | None, where: str) -> None:
    if current is not None and current not in {script.revision for script in _scripts().walk_revisions()}:
        raise SchemaMismatch(
            f"the database {where} has the schema {current}, which is newer than this program: upgrade billingd"
        )


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_configuration())


def _configuration() -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return configuration
