"""`billingd run`: the daemon in the foreground."""

import typer

from cli.invocation import config_path, configuration, installed_version
from daemon.main import run as run_daemon


def run(context: typer.Context) -> int:
    """Run the daemon in the foreground, until SIGTERM or SIGINT; SIGHUP reloads the configuration."""
    return run_daemon(configuration(context), config_path(context), installed_version() or "unknown")
