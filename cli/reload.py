"""`billingd reload`: has the running daemon read its configuration again, and reports the outcome."""

import os
import signal
import threading
import time
from pathlib import Path

import typer

from cli.invocation import CommandFailed, configuration
from cli.output import print_lines
from config.load import ConfigurationRejected
from daemon.reload import ReloadOutcome, last_outcome, outcome_path, running_process

TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 0.05


def reload(context: typer.Context) -> None:
    """Have the running daemon read its configuration file again: 0 when it was taken, 1 with what is wrong."""
    state_dir = _state_dir(context)
    path = outcome_path(state_dir)
    before = last_outcome(path)
    process = _process(state_dir)
    try:
        os.kill(process, signal.SIGHUP)
    except OSError as error:
        raise CommandFailed(f"cannot tell the daemon, process {process}: {(error.strerror or '').lower()}") from error
    outcome = _wait_for_another(path, before)
    if not outcome.accepted:
        raise CommandFailed("; ".join(outcome.lines))
    print_lines(outcome.lines)


def _state_dir(context: typer.Context) -> Path:
    """Where the daemon is found. In its unit it is told of a bad file too: that is an alarm, not only our failure."""
    unit_state_dir = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    try:
        return configuration(context).settings.state_dir
    except CommandFailed as error:
        if unit_state_dir and isinstance(error.__cause__, ConfigurationRejected):
            return Path(unit_state_dir)
        raise


def _process(state_dir: Path) -> int:
    if os.environ.get("MAINPID", "").isdecimal():
        return int(os.environ["MAINPID"])
    try:
        process = running_process(state_dir)
    except OSError as error:
        raise CommandFailed(f"cannot look into {state_dir}: {(error.strerror or '').lower()}") from error
    if process is None:
        raise CommandFailed(f"no daemon runs in the state directory {state_dir}")
    return process


def _wait_for_another(path: Path, before: ReloadOutcome | None) -> ReloadOutcome:
    until = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < until:
        outcome = last_outcome(path)
        if outcome is not None and outcome != before:
            return outcome
        threading.Event().wait(POLL_SECONDS)
    raise CommandFailed(f"the daemon has not said within {TIMEOUT_SECONDS:g} s what became of the configuration")
