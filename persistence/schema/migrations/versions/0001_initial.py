"""The first schema: master data, readings, invoices with their claims and history, alarms, instances."""

from persistence.schema.sql_files import run_files

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the schema."""
    run_files("master_data", "invoices", "audit_trail", "guards", "operations", revision=revision)
