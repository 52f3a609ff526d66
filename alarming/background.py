"""A thread beside the alarm actor for what may block: the table and the webhook."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
_LOGGER = logging.getLogger("billingd.alarms.worker")
_AFTER_A_DEFECT_SECONDS = 5.0
_RESULTS_AT_MOST = 2000


class BackgroundThread(Generic[T]):
    """Calls `work` again and again; what comes of it is taken by the alarm actor, which never waits.

    `on_start` is called in the thread, before anything else.
    """

    def __init__(self, name: str, on_start: Callable[[], object]) -> None:
        self.results: deque[T] = deque(maxlen=_RESULTS_AT_MOST)
        self._on_start = on_start
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def work(self) -> float:
        """Does what there is to do; returns the pause in seconds, which `wake` cuts short."""
        raise NotImplementedError

    def close(self) -> None:
        """Called in the thread, at its end."""

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self, wait_seconds: float = 0.0) -> None:
        """Lets the thread end after the work in hand; waits at most so long for it."""
        self._stopping = True
        self._wake.set()
        self._thread.join(wait_seconds)

    def take(self) -> list[T]:
        """What has come of it since last time, in order."""
        return [self.results.popleft() for _ in range(len(self.results))]

    def _run(self) -> None:
        self._on_start()
        while not self._stopping:
            self._wake.clear()
            try:
                pause_seconds = self.work()
            except Exception as error:  # alarms have to go on whatever defect this has
                _LOGGER.error("%s failed; it tries again", self._thread.name, exc_info=error)
                pause_seconds = _AFTER_A_DEFECT_SECONDS
            if not self._stopping:
                self._wake.wait(pause_seconds)
        self.close()
