"""`billingd run`: the daemon in the foreground."""

import typer

from cli.invocation import config_path, configuration, installed_version
from daemon import main


def run(context: typer.Context) -> int:
    """Run the daemon in the foreground, until SIGTERM or SIGINT; SIGHUP reloads the configuration."""
    return main.run(configuration(context), config_path(context), installed_version() or "unknown")
