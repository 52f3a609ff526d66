"""Failures made for real, and the table of what holds in each."""
