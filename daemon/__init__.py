"""The process: start and stop, signals, reload, status, metrics, log."""
