"""${message}."""

from persistence.schema.sql_files import upgrade_by

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
upgrade = upgrade_by(revision=revision)
