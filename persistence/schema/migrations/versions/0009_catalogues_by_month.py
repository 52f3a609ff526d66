"""A measurement location may have one network-user catalogue after the other."""

from persistence.schema.sql_files import upgrade_by

revision = "0009"
down_revision = "0008"
upgrade = upgrade_by("catalogues_by_month", revision=revision)
