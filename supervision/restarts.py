"""The arithmetic of restarts: how many are allowed in a window, and how long to wait before each."""

from __future__ import annotations

from collections import deque

from supervision.clock import Randomness


class Window:
    """At most `limit` restarts within the last `seconds`, by a clock that never steps.

    OTP's rule: the present restart counts too; a limit of 0 allows none. Where it differs: OTP counts
    whole seconds, this counts fractions.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self._times: deque[float] = deque()

    def allows(self, now: float) -> bool:
        """Counts a restart at `now` (monotonic seconds) and says whether it is within the limit."""
        while self._times and self._times[0] < now - self.seconds:
            self._times.popleft()
        self._times.append(now)
        return len(self._times) <= self.limit


class Backoff:
    """Waits that double from `base_seconds` up to `max_seconds`, each with full jitter.

    OTP restarts at once and has no backoff: a child that fails at once would use up its restarts in no time.
    """

    def __init__(self, base_seconds: float, max_seconds: float, randomness: Randomness) -> None:
        self.base_seconds = base_seconds
        self.max_seconds = max_seconds
        self.failures = 0
        self._randomness = randomness

    def next_seconds(self) -> float:
        """Counts one more failure; uniform between 0 and the cap that its number gives."""
        cap = min(self.max_seconds, self.base_seconds * 2.0 ** min(self.failures, 60))
        self.failures += 1
        return self._randomness.uniform(0.0, cap)

    def reset(self) -> None:
        """After stable uptime: the next wait is as short as the first."""
        self.failures = 0
