"""What the daemon's role could not do itself, for tests that may run as that role."""

from dataclasses import replace

from sqlalchemy import text

from persistence.connection.database import Database

credentials: dict[str, str | None] = {}
"""Of the shared server: set with it, in tests/conftest.py."""


def superuser(database: Database) -> Database:
    """Another session with the same database, of the superuser."""
    return Database(replace(database.settings, **credentials))  # type: ignore[arg-type]  # user and password


def as_superuser(database: Database, *statements: str) -> None:
    """Runs statements of a test's own, in one transaction."""
    with superuser(database) as opened, opened.transaction() as connection:
        for statement in statements:
            connection.execute(text(statement))
