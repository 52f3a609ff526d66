"""The command line: one module a command; app.py says how one is registered."""
