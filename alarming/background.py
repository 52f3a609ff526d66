"""A thread beside the alarm actor for what may block: the table and the webhook."""

import logging
import threading
from collections.abc import Callable

_LOGGER = logging.getLogger("billingd.alarms.worker")
_AFTER_A_DEFECT_SECONDS = 5.0


class BackgroundThread:
    """Calls `work` again and again; what it returns is the pause in seconds, cut short by `wake`.

    `on_start` and `on_end` are called in the thread, at its start and its end.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], float],
        on_start: Callable[[], object],
        on_end: Callable[[], object],
    ) -> None:
        self._work = work
        self._on_start = on_start
        self._on_end = on_end
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Ends the pause."""
        self._wake.set()

    def stop(self) -> None:
        """Lets the thread end after the work in hand; doesn't wait for it."""
        self._stopping = True
        self._wake.set()

    def join(self, timeout_seconds: float) -> None:
        """Waits for its end."""
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        self._on_start()
        while not self._stopping:
            self._wake.clear()
            try:
                pause_seconds = self._work()
            except Exception as error:  # alarms have to go on whatever defect this has
                _LOGGER.error("%s failed; it tries again", self._thread.name, exc_info=error)
                pause_seconds = _AFTER_A_DEFECT_SECONDS
            if not self._stopping:
                self._wake.wait(pause_seconds)
        self._on_end()
