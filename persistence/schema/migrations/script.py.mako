"""${message}."""

from persistence.schema.sql_files import run_files

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Says what it changes, and why."""
    ${upgrades if upgrades else "run_files(revision=revision)"}
