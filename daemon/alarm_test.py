"""When the alarms are tested: by schedule, and by an order that a command leaves in the state directory."""

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

from alarming.chain_test import Arrival
from billing.periods import Schedule
from config.settings import Settings
from files.durable import replace_whole
from files.opening import open_regular

_LOGGER = logging.getLogger("billingd.alarms.test")
_ORDER, _OUTCOME = "alarm-test.order", "alarm-test.json"
_ORDER_BYTES, _TAKEN_SECONDS, _DONE_SECONDS, _LOOK_SECONDS = 36, 5.0, 60.0, 0.05


class NotTested(Exception):  # noqa: N818 - it says what happened
    """The daemon has not tested its alarms; the message says why."""


class AlarmTester:
    """Runs one test at a time, in a thread of its own. `look` belongs into the main loop; it never waits."""

    def __init__(
        self, run: Callable[[], Sequence[Arrival]], settings: Callable[[], Settings], now: Callable[[], datetime]
    ) -> None:
        self._run = run
        self._settings = settings
        self._now = now
        self._thread: threading.Thread | None = None
        self._orders: list[str | None] = []
        self._planned: tuple[str | None, datetime] = (None, now())

    def look(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        folder = self._settings().state_dir
        if (order := _take(folder / _ORDER)) is not None or self._due():
            self._orders = [order]
        if self._orders:
            # Its name says that it is the alarms' own: what is logged there raises no alarm (log_rules.py).
            thread = threading.Thread(target=self._test, args=(folder, *self._orders), name="alarm-test", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no more threads to be had: at a later look
                _LOGGER.info("the test of the alarms waits: %s", error)
            else:
                self._thread, self._orders = thread, []

    def _due(self) -> bool:
        settings, now = self._settings(), self._now()
        (planned, due_at), wanted = self._planned, settings.alarms.self_test
        due = wanted is not None and planned == wanted and now >= due_at
        if wanted is not None and (due or planned != wanted):
            due_at = Schedule(wanted).first_tick_from(now + timedelta(seconds=1), settings.zone)
        self._planned = wanted, due_at
        return due

    def _test(self, folder: Path, order: str | None) -> None:
        arrivals = self._run()
        said = (f"{one.place} {one.problem or f'after {one.seconds:.1f} s'}" for one in arrivals)
        _LOGGER.info("the test of the alarms: %s", "; ".join(said))
        try:
            replace_whole(
                folder / _OUTCOME, json.dumps({"order": order, "arrivals": [asdict(one) for one in arrivals]})
            )
        except OSError as error:
            _LOGGER.warning("what came of the test could not be left for `billingd alarms test`: %s", error)


def order_test(folder: Path) -> list[Arrival]:
    """Has the daemon of this state directory test its alarms, and waits for the outcome. Raises NotTested, OSError."""
    order, begun = str(uuid.uuid4()), time.monotonic()
    replace_whole(folder / _ORDER, order)
    while time.monotonic() - begun < _DONE_SECONDS:
        with suppress(OSError, ValueError, KeyError, TypeError):
            with open_regular(folder / _OUTCOME) as file:
                outcome = json.loads(file.read())
            if outcome["order"] == order:
                return [Arrival(**one) for one in outcome["arrivals"]]
        if time.monotonic() - begun > _TAKEN_SECONDS and _take(folder / _ORDER) is not None:
            raise NotTested("the daemon does not take the order: it hangs, or is of an earlier version")
        threading.Event().wait(_LOOK_SECONDS)
    raise NotTested(f"the daemon has not said within {_DONE_SECONDS:g} s what came of the test")


def _take(path: Path) -> str | None:
    """The order, which is gone then; None if there is none."""
    try:
        with open_regular(path, "r") as file:
            order = str(file.read(_ORDER_BYTES))
        path.unlink()
    except (OSError, ValueError):
        return None
    return order
