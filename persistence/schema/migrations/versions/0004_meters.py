"""Meters and network users from one instant to another; due invoices that master data takes back."""

from persistence.schema.sql_files import run_files

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Migrates the schema."""
    run_files("meters", revision=revision)
