"""The outcome of a reload: the daemon writes it beside its state, `billingd reload` waits for it."""

import fcntl
import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from files.durable import replace_whole
from files.opening import open_regular

FILE_NAME = "reload.json"


@dataclass(frozen=True)
class ReloadOutcome:
    """Whether the file was taken, and what there is to say of it: its problems, or what changed.

    `serial` tells one reload from the next.
    """

    accepted: bool
    lines: tuple[str, ...]
    serial: str


def outcome_path(state_dir: Path) -> Path:
    """Where outcomes are left: the unit's runtime directory, for which no file has to be read; else the state's."""
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(runtime or state_dir) / FILE_NAME


def write_outcome(path: Path, lines: Sequence[str], *, accepted: bool) -> None:
    """Leaves the outcome of a reload, as a whole or not at all. Raises OSError."""
    replace_whole(path, json.dumps(asdict(ReloadOutcome(accepted, tuple(lines), str(uuid.uuid4())))))


def last_outcome(path: Path) -> ReloadOutcome | None:
    """The outcome of the last reload; None if there was none, or it can't be read."""
    try:
        with open_regular(path) as file:
            found = json.loads(file.read())
        return ReloadOutcome(bool(found["accepted"]), tuple(map(str, found["lines"])), str(found["serial"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def running_process(state_dir: Path) -> int | None:
    """The process number of the daemon that holds the state directory; None if none does. Raises OSError."""
    try:
        with open_regular(state_dir / "lock") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                purpose, _, number = file.read(200).decode(errors="replace").strip().rpartition(", process ")
                return int(number) if purpose == "billingd run" and number.isdecimal() else None
    except FileNotFoundError:
        return None
    return None
