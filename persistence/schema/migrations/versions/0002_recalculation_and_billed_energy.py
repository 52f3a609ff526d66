"""Stale calculations are refused, energy is billed once, and who ended an invoice is a column of its own."""

from persistence.schema.sql_files import upgrade_by

revision = "0002"
down_revision = "0001"
upgrade = upgrade_by("recalculation_and_billed_energy", revision=revision)
