"""The one door for wall clock, sleep and randomness."""

from __future__ import annotations

import random
import threading
import time
from datetime import UTC, datetime
from typing import Protocol

Randomness = random.Random
"""Where chance comes from: hand in `Randomness(seed)` and a run can be repeated."""


def system_randomness() -> Randomness:
    """Randomness seeded by the operating system."""
    return random.Random()


class Clock(Protocol):
    """Every kind of time that a program needs, so that a test can hand in its own."""

    def monotonic(self) -> float:
        """Seconds that never step; they stand still while the machine is suspended."""

    def boottime(self) -> float:
        """Seconds that never step and run on while the machine is suspended: for leases."""

    def wall(self) -> datetime:
        """The calendar's instant, aware, UTC; it may step either way."""

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Sleeps until the event is set (True) or that many seconds have passed (False)."""


class SystemClock:
    """The machine's own time: CLOCK_MONOTONIC, CLOCK_BOOTTIME and the calendar."""

    def monotonic(self) -> float:
        return time.monotonic()

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> datetime:
        return datetime.now(UTC)

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        return event.wait(seconds)
