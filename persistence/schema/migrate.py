"""The schema's version: what the database has, what this program needs, and the way from one to the other."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from persistence.connection.database import Database
from persistence.connection.errors import SchemaMismatch
from persistence.connection.statements import Source, execute, fetch_value, session_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

_MIGRATIONS = Path(__file__).parent / "migrations"
_COLLATIONS = Path(__file__).parent / "collations.sql"
_MIGRATING_LOCK = 7_240_062
_TABLES_ELSEWHERE = """SELECT min(schemaname) FROM pg_tables version
    WHERE tablename = 'alembic_version' AND schemaname <> 'public' AND EXISTS (
        SELECT FROM pg_tables t WHERE t.schemaname = version.schemaname AND t.tablename = 'invoice_history')"""


def upgrade(database: Database) -> bool:
    """Creates or migrates the schema, in one transaction; True if there was anything to do.

    Several callers at once wait for each other. Without limits on time, on a connection of its own.
    Raises SchemaMismatch if the schema is newer than this program, or if its tables lie in another one than public,
    and as `Database.transaction` does.
    """
    with Database(database.settings.without_limits()) as unlimited:
        return unlimited.run(lambda connection: _upgrade(connection, database.settings.where))


def _upgrade(connection: "Connection", where: str) -> bool:
    from alembic import command  # slow to import, and rarely needed: every command looks at the schema
    from alembic.config import Config

    execute(connection, "SELECT pg_advisory_xact_lock(:key)", key=_MIGRATING_LOCK)
    current = current_revision(connection)
    if current == expected_revision():
        return False
    _refuse_unknown(current, where)
    if current is None and (elsewhere := fetch_value(connection, _TABLES_ELSEWHERE)) is not None:
        raise SchemaMismatch(
            f"the database {where} has billingd's tables in the schema {elsewhere}, not in public: "
            'move them first, see docs/database.md, "The schema"'
        )
    configuration = Config()
    configuration.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, "head")
    connection.exec_driver_sql(_COLLATIONS.read_text("utf-8"))
    return True


def check_schema(source: Source) -> None:
    """Raises SchemaMismatch if the schema isn't the one that this program needs."""
    current, where = current_revision(source), session_of(source).where
    if current == expected_revision():
        return
    _refuse_unknown(current, where)
    what = "has no schema" if current is None else f"has the older schema {current}, not {expected_revision()}"
    raise SchemaMismatch(f"the database {where} {what}: run `billingd db upgrade`")


def current_revision(source: Source) -> str | None:
    """The schema's version in the database; None if it has none."""
    if fetch_value(source, "SELECT to_regclass('alembic_version') IS NULL"):
        return None
    revision = fetch_value(source, "SELECT version_num FROM alembic_version")
    return None if revision is None else str(revision)


@functools.cache
def revisions() -> tuple[str, ...]:
    """Every version of the schema, oldest first: the numbers that the migrations' files begin with."""
    return tuple(sorted(path.name[:4] for path in (_MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py")))


def expected_revision() -> str:
    """The schema's version that this program needs."""
    return revisions()[-1]


def _refuse_unknown(current: str | None, where: str) -> None:
    if current is not None and current not in revisions():
        raise SchemaMismatch(
            f"the database {where} has the schema {current}, which is newer than this program: upgrade billingd"
        )
