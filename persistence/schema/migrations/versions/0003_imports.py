"""Every import is kept with what became of it."""

from persistence.schema.sql_files import run_files

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Migrates the schema."""
    run_files("imports", revision=revision)
