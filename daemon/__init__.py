"""The composition root: command line, start and stop, signals, ops endpoint."""
