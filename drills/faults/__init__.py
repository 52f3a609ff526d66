"""Faults by what fails, as tables of variants; start with fault.py, the base of all."""
