"""Named points at which the drills can hold, crash or hang an actor; in production a function that does nothing.

With BILLINGD_TEST=1 and BILLINGD_TEST_POINTS=FOLDER an actor that comes to the point NAME reads its order in
FOLDER/NAME.order. The first line is the order, each further line an invoice that it is for (none: all):

- `hold N`: the first N comers pass, the others write their number to NAME.at and wait for another order.
- `raise`, `exit`, `hang`: this comer and all later ones end in an exception, in SystemExit, or wait for ever.
- the same with ` once`: the first comer takes the order away.
"""

import contextlib
import os
import threading
from collections import Counter
from pathlib import Path

LOOK_SECONDS = 0.01


class OrderedError(RuntimeError):
    """What an actor is told to raise."""


class _Points:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._comers: Counter[str] = Counter()

    def __call__(self, name: str, *works: object) -> None:
        path = self._folder / f"{name}.order"
        number = 0
        while (order := self._order(path, works)) is not None:
            if not number:
                with self._lock:
                    self._comers[name] += 1
                    number = self._comers[name]
            kind, _, more = order.partition(" ")
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
                    return  # another comer was first
            self._say(name, number)
            _obey(kind, name)

    @staticmethod
    def _order(path: Path, works: tuple[object, ...]) -> str | None:
        try:
            order, *only = path.read_text().split("\n")
        except FileNotFoundError:
            return None
        in_hand = {each for work in works for each in getattr(work, "invoice_ids", ())}
        return order if not only or in_hand.intersection(only) else None

    def _say(self, name: str, number: int) -> None:
        with self._lock, contextlib.suppress(OSError):
            fresh = self._folder / f"{name}.at.new"
            fresh.write_text(str(number))
            fresh.replace(self._folder / f"{name}.at")


def _obey(kind: str, name: str) -> None:
    match kind:
        case "exit":
            raise SystemExit(f"ordered at {name}")
        case "hang":
            threading.Event().wait()
        case _:
            raise OrderedError(f"ordered at {name}")


def _pass_by(name: str, *works: object) -> None:
    """Production: nothing stands here."""


_folder = os.environ.get("BILLINGD_TEST_POINTS") if os.environ.get("BILLINGD_TEST") == "1" else None
point = _Points(Path(_folder)) if _folder else _pass_by
"""Call it with the point's name and the messages in hand."""
