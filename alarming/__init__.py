"""Alarms: their catalogue, the rules that turn log records into them, and where they go."""
