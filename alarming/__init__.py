"""Alarms: their catalogue, the rules that turn log records into them, and where they go."""

from alarming.catalogue import CATALOGUE, Code
from alarming.signs import Fine, Severity, Trouble

__all__ = ["CATALOGUE", "Code", "Fine", "Severity", "Trouble"]
