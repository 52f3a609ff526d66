"""Failpoints at which the drills hold, crash or hang an actor; in production a function that does nothing.

With BILLINGD_TEST=1 and BILLINGD_TEST_POINTS=FOLDER an actor that reaches the failpoint NAME reads what to do in
FOLDER/NAME.action. The first line is the action, each further line an invoice that it is for (none: all):

- `hold N`: the first N arrivals pass, the others write their number to NAME.reached and wait for another action.
- `raise`, `exit`, `hang`: this arrival and all later ones end in an exception, in SystemExit, or wait for ever.
- the same with ` once`: the first arrival takes the action away.
"""

import contextlib
import os
import threading
from collections import Counter
from pathlib import Path

LOOK_SECONDS = 0.01


class FailpointError(RuntimeError):
    """What an actor is told to raise."""


class _Failpoints:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._arrivals: Counter[str] = Counter()

    def __call__(self, name: str, *works: object) -> None:
        path = self._folder / f"{name}.action"
        number = 0
        while (action := self._action(path, works)) is not None:
            if not number:
                with self._lock:
                    self._arrivals[name] += 1
                    number = self._arrivals[name]
            kind, _, more = action.partition(" ")
            if kind == "hold":
                if number <= int(more):
                    return
                self._say(name, number)
                threading.Event().wait(LOOK_SECONDS)
                continue
            if more == "once":
                try:
                    path.unlink()
                except FileNotFoundError:
                    return  # another arrival was first
            self._say(name, number)
            _act(kind, name)

    @staticmethod
    def _action(path: Path, works: tuple[object, ...]) -> str | None:
        try:
            action, *only = path.read_text().split("\n")
        except FileNotFoundError:
            return None
        in_hand = {each for work in works for each in getattr(work, "invoice_ids", ())}
        return action if not only or in_hand.intersection(only) else None

    def _say(self, name: str, number: int) -> None:
        with self._lock, contextlib.suppress(OSError):
            fresh = self._folder / f"{name}.reached.new"
            fresh.write_text(str(number))
            fresh.replace(self._folder / f"{name}.reached")


def _act(kind: str, name: str) -> None:
    match kind:
        case "exit":
            raise SystemExit(f"failpoint {name}")
        case "hang":
            threading.Event().wait()
        case _:
            raise FailpointError(f"failpoint {name}")


def _disabled(name: str, *works: object) -> None:
    """Production: no failpoint is enabled."""


_folder = os.environ.get("BILLINGD_TEST_POINTS") if os.environ.get("BILLINGD_TEST") == "1" else None
failpoint = _Failpoints(Path(_folder)) if _folder else _disabled
"""Call it with the failpoint's name and the messages in hand."""
