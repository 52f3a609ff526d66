"""The timers of the kernel's thread."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable


class Timer:
    """An action that happens once, or every `repeat_seconds`, until it is cancelled."""

    def __init__(self, action: Callable[[], None], repeat_seconds: float | None) -> None:
        self._action: Callable[[], None] | None = action
        self.repeat_seconds = repeat_seconds

    @property
    def pending(self) -> bool:
        """Whether the action may still happen."""
        return self._action is not None

    def cancel(self) -> None:
        """Prevents the action and releases it. Harmless after the timer has fired."""
        self._action = None

    def fire(self) -> None:
        action = self._action
        if self.repeat_seconds is None:
            self._action = None
        if action is not None:
            action()


class Timers:
    """Timers in the order of their instants (monotonic seconds). Any thread may add one."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._lock = threading.Lock()
        self._order = itertools.count()
        self._compact_at = 64

    def add(self, due: float, timer: Timer) -> bool:
        """Adds a timer; whether it is the next one."""
        with self._lock:
            heapq.heappush(self._heap, (due, next(self._order), timer))
            if len(self._heap) > self._compact_at:
                self._heap = sorted(entry for entry in self._heap if entry[2].pending)  # a sorted list is a heap
                self._compact_at = max(64, 2 * len(self._heap))
            return self._heap[0][2] is timer

    def take_due(self, now: float) -> list[Timer]:
        """Removes and returns the timers whose instant has come, earliest first."""
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
