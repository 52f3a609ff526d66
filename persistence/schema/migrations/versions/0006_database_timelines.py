"""Which servers and timelines the database has stood on, and under which an invoice was last claimed for delivery."""

from persistence.schema.sql_files import upgrade_by

revision = "0006"
down_revision = "0005"
upgrade = upgrade_by("database_timelines", revision=revision)
