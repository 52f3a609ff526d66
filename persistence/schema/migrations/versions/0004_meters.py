"""Meters and network users from one instant to another; due invoices that master data takes back."""

from persistence.schema.sql_files import upgrade_by

revision = "0004"
down_revision = "0003"
upgrade = upgrade_by("meters", revision=revision)
