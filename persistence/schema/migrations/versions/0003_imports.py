"""Every import is kept with what became of it."""

from persistence.schema.sql_files import upgrade_by

revision = "0003"
down_revision = "0002"
upgrade = upgrade_by("imports", revision=revision)
