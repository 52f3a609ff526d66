"""Audit roots are chained in the order in which they were made, and no table of the proof can be emptied at once."""

from persistence.schema.sql_files import run_files

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Migrates the schema."""
    run_files("audit_roots_in_order", revision=revision)
