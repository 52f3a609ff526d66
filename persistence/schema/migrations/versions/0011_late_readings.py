"""A reading that comes after an invoice of its time was computed leaves a trace, as a replaced one does."""

from persistence.schema.sql_files import upgrade_by

revision = "0011"
down_revision = "0010"
upgrade = upgrade_by("late_readings", revision=revision)
