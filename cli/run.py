"""`billingd run`: the daemon in the foreground."""

from importlib.metadata import PackageNotFoundError, version

import typer

from cli.invocation import config_path, configuration
from daemon.main import run as run_daemon


def run(context: typer.Context) -> int:
    """Run the daemon in the foreground, until SIGTERM or SIGINT; SIGHUP reloads the configuration."""
    try:
        installed = version("billingd")
    except PackageNotFoundError:
        installed = "unknown"
    return run_daemon(configuration(context), config_path(context), installed)
