"""Which servers and timelines the database has stood on, and under which an invoice was last claimed for delivery."""

from persistence.schema.sql_files import run_files

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Migrates the schema."""
    run_files("database_timelines", revision=revision)
