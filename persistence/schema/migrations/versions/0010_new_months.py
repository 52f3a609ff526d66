"""A file of readings may fill the table of a new month directly."""

from persistence.schema.sql_files import upgrade_by

revision = "0010"
down_revision = "0009"
upgrade = upgrade_by("new_months", revision=revision)
