"""The daemon's role may be another than the tables' owner."""

from persistence.schema.sql_files import upgrade_by

revision = "0007"
down_revision = "0006"
upgrade = upgrade_by("roles", revision=revision)
