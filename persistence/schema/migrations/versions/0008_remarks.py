"""The energy of an invoice, and whether it waits because of its remarks."""

from persistence.schema.sql_files import run_files

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Migrates the schema."""
    run_files("remarks", revision=revision)
