"""Audit roots are chained in the order in which they were made, and no table of the proof can be emptied at once."""

from persistence.schema.sql_files import upgrade_by

revision = "0005"
down_revision = "0004"
upgrade = upgrade_by("audit_roots_in_order", revision=revision)
