"""A file of readings may fill the table of a new month directly."""

from persistence.schema.sql_files import run_files

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Migrates the schema."""
    run_files("new_months", revision=revision)
