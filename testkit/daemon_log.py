"""Reads a daemon's log: its JSON lines, the kernel's events and the alarms, each with its time."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from supervision.clock import SystemClock


def log_entries(path: Path) -> Iterator[dict[str, Any]]:
    """The log's JSON lines. Other lines, such as half a line of a killed process, are left out."""
    for line in path.read_text("utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry


def supervision_events(path: Path, event: str) -> list[dict[str, Any]]:
    """The kernel's events of one kind, by the field that names it: a text that looks like one is none."""
    return [entry for entry in log_entries(path) if entry.get("supervision_event") == event]


@dataclass(frozen=True)
class AlarmLine:
    """One alarm line; `at` is the wall clock's, in seconds since 1970."""

    at: float
    code: str
    key: str
    state: str
    message: str


class AlarmLog:
    """All alarm lines of a log file that several processes have written to."""

    def __init__(self, log_path: Path) -> None:
        self._path = log_path

    def all(self) -> list[AlarmLine]:
        """Returns them in order."""
        found = []
        for entry in log_entries(self._path):
            if "BILLINGD_ALARM_STATE" not in entry:
                continue
            at = datetime.fromisoformat(entry["at"]).timestamp()
            code, key, state = (entry[f"BILLINGD_ALARM_{name}"] for name in ("CODE", "KEY", "STATE"))
            found.append(AlarmLine(at, code, key, state, entry["message"]))
        return found

    def first_raised(self, codes: tuple[str, ...], since: float) -> AlarmLine | None:
        """The first of these codes that was raised (or was said to stand still) after an instant."""
        return next(
            (each for each in self.all() if each.code in codes and each.at >= since and each.state != "cleared"), None
        )

    def standing(self) -> set[tuple[str, str]]:
        """Code and key of what was raised and not cleared since."""
        standing: set[tuple[str, str]] = set()
        for each in self.all():
            (standing.discard if each.state == "cleared" else standing.add)((each.code, each.key))
        return standing


def wall_seconds() -> float:
    """The wall clock in seconds since 1970, as the daemon's log tells it."""
    return SystemClock().wall().timestamp()
