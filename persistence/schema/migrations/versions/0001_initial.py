"""The first schema: master data, readings, invoices with their claims and history, alarms, instances."""

from persistence.schema.sql_files import upgrade_by

revision = "0001"
down_revision = None
upgrade = upgrade_by("master_data", "invoices", "audit_trail", "guards", "operations", revision=revision)
