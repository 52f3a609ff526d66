"""What every command shares: the configuration it was called with, how it fails and how it prints."""

import contextlib
import json
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from config.load import ConfigurationRejected, Loaded, load


class CommandFailed(Exception):  # noqa: N818 - it says what happened
    """An expected failure: `main` prints the message as one line on standard error and ends with `status`."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Invocation:
    """The options in front of the command."""

    config_path: Path | None = None


def config_path(context: typer.Context) -> Path | None:
    """Return the file that --config names, None without it."""
    invocation = context.find_object(Invocation)
    return invocation.config_path if invocation else None


def configuration(context: typer.Context) -> Loaded:
    """Return the configuration this command works with. Raises CommandFailed when it is rejected."""
    try:
        return load(config_path(context))
    except ConfigurationRejected as error:
        first, *others = error.problems
        more = f" (and {len(others)} more: billingd check-config lists them)" if others else ""
        where = f"{error.path}: " if error.path else ""
        raise CommandFailed(f"the configuration can't be used: {where}{first}{more}") from error


def put(text: str) -> None:
    """Write one line of data to standard output. Raises CommandFailed when it can't be written."""
    try:
        sys.stdout.write(text + "\n")
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandFailed(f"cannot write the output: {error.strerror}") from error


def write_text(path: Path, text: str) -> None:
    """Write a file that the person asked for. Raises CommandFailed when it can't be written."""
    try:
        path.write_text(text, "utf-8", newline="")
    except OSError as error:
        raise CommandFailed(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error


def say(text: str) -> None:
    """Write one line for the person to standard error: progress, notes, problems. It never raises."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def put_json(document: Any) -> None:
    """Write one JSON document: decimals as strings, instants in UTC with Z (docs/spec/interfaces.md, "JSON")."""
    put(json.dumps(document, default=plain, ensure_ascii=False, indent=2))


def plain(value: object) -> object:
    """What JSON has no form for: decimals and paths as strings, instants in UTC (docs/spec/interfaces.md, "JSON")."""
    if isinstance(value, Decimal | Path):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} has no form in JSON")
