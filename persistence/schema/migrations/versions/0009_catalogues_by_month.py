"""A measurement location may have one network-user catalogue after the other."""

from persistence.schema.sql_files import run_files

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Migrates the schema."""
    run_files("catalogues_by_month", revision=revision)
