"""The energy of an invoice, and whether it waits because of its remarks."""

from persistence.schema.sql_files import upgrade_by

revision = "0008"
down_revision = "0007"
upgrade = upgrade_by("remarks", revision=revision)
