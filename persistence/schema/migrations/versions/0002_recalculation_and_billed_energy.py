"""Stale calculations are refused, energy is billed once, and who ended an invoice is a column of its own."""

from persistence.schema.sql_files import run_files

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Migrates the schema."""
    run_files("recalculation_and_billed_energy", revision=revision)
