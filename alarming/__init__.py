"""Alarms: their catalogue, the rules that turn log records into them, and where they go."""

from alarming.catalogue import CATALOGUE, Code
from alarming.conditions import ConditionActive, ConditionCleared, Severity

__all__ = ["CATALOGUE", "Code", "ConditionActive", "ConditionCleared", "Severity"]
