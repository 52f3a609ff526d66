"""The daemon's role may be another than the tables' owner."""

from persistence.schema.sql_files import run_files

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Migrates the schema."""
    run_files("roles", revision=revision)
