"""The kernel's one thread: what was posted, what is due, who is late, round after round."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from supervision.clock import Clock
from supervision.timers import Timer, Timers

__all__ = ["Loop"]


class Loop:
    """Does posted actions and due timers, then lets the tree settle; looks after the living each tick.

    `sweep` gets the seconds for which this loop itself has run since the last sweep. A standstill counts
    as two ticks at most, so that after a freeze of the process nobody is late.
    """

    def __init__(
        self, clock: Clock, tick_seconds: float, settle: Callable[[], None], sweep: Callable[[float], None]
    ) -> None:
        self.rounds = 0
        self.last_round = clock.monotonic()
        self._clock = clock
        self._tick_seconds = tick_seconds
        self._settle = settle
        self._sweep = sweep
        self._posted: deque[Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._timers = Timers()
        self._unswept_seconds = 0.0

    def post(self, action: Callable[[], None]) -> None:
        """Has the action done in the kernel's thread, after those posted before."""
        self._posted.append(action)
        self._wake.set()

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Has the action done in the kernel's thread when the time has come."""
        due = self._clock.monotonic() + seconds
        before = self._timers.next_due()
        timer = self._timers.add(due, action)
        if before is None or due < before:
            self._wake.set()
        return timer

    def turn(self) -> None:
        """One round; does not wait."""
        self._wake.clear()
        now = self._clock.monotonic()
        self._unswept_seconds += min(now - self.last_round, 2 * self._tick_seconds)
        for timer in self._timers.take_due(now):
            timer.fire()
        while self._posted:
            self._posted.popleft()()
            self._settle()
        if self._unswept_seconds >= self._tick_seconds:
            seconds, self._unswept_seconds = self._unswept_seconds, 0.0
            self._sweep(seconds)
        self._settle()
        self.rounds += 1
        self.last_round = now

    def pause(self) -> None:
        """Waits until something is posted or due, one tick at most."""
        seconds = self._tick_seconds
        due = self._timers.next_due()
        if due is not None:
            seconds = min(seconds, max(0.0, due - self._clock.monotonic()))
        self._clock.wait(self._wake, seconds)

    @property
    def idle(self) -> bool:
        """Whether nothing posted is left to do."""
        return not self._posted and not self._wake.is_set()
