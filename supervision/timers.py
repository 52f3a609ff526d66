"""What is due when, for the kernel's thread."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

__all__ = ["Timer", "Timers"]


class Timer:
    """Something that will happen unless it is cancelled."""

    __slots__ = ("_action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self._action: Callable[[], None] | None = action

    @property
    def pending(self) -> bool:
        """Whether it has neither fired nor been cancelled."""
        return self._action is not None

    def cancel(self) -> None:
        """It won't fire; harmless if it has. What it held on to is let go."""
        self._action = None

    def fire(self) -> None:
        """Does what was to be done, once."""
        action, self._action = self._action, None
        if action is not None:
            action()


class Timers:
    """Timers by their monotonic instant in seconds; may be added to from any thread."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._lock = threading.Lock()
        self._order = itertools.count()
        self._sweep_at = 64

    def add(self, due: float, action: Callable[[], None]) -> Timer:
        """A timer for the instant `due`."""
        timer = Timer(action)
        with self._lock:
            heapq.heappush(self._heap, (due, next(self._order), timer))
            if len(self._heap) > self._sweep_at:
                self._heap = [entry for entry in self._heap if entry[2].pending]
                heapq.heapify(self._heap)
                self._sweep_at = max(64, 2 * len(self._heap))
        return timer

    def take_due(self, now: float) -> list[Timer]:
        """Those whose instant has come, earliest first, no longer kept here."""
        due = []
        with self._lock:
            while self._heap and self._heap[0][0] <= now:
                due.append(heapq.heappop(self._heap)[2])
        return due

    def next_due(self) -> float | None:
        """The earliest instant, None if there is none."""
        with self._lock:
            while self._heap and not self._heap[0][2].pending:
                heapq.heappop(self._heap)
            return self._heap[0][0] if self._heap else None

    def __len__(self) -> int:
        return len(self._heap)
