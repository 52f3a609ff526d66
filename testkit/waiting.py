"""Waits for a condition with a deadline. Nothing in demo, drills, benchmarks and tests sleeps for luck."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

LOOK_SECONDS = 0.05
WAIT_SECONDS = 60.0

T = TypeVar("T")

_abandoned = threading.Event()


class NotReached(Exception):  # noqa: N818 - named for what is so
    """What had to become true didn't in time; the message says what."""


def wait_until(
    condition: Callable[[], T],
    *,
    within_seconds: float = WAIT_SECONDS,
    what: str = "",
    every_seconds: float = LOOK_SECONDS,
    abort: Callable[[], object] = lambda: None,
) -> T:
    """Asks until the answer is true and returns it; raises NotReached at the deadline.

    `abort` is called before each look: whatever it raises ends the wait.
    """
    deadline = time.monotonic() + within_seconds
    while True:
        abort()
        if found := condition():
            return found
        if _abandoned.is_set():
            raise NotReached("all waits were abandoned")
        if time.monotonic() >= deadline:
            raise NotReached(f"not within {within_seconds:g} s: {what or repr(found)}")
        pause(every_seconds)


def becomes_true(condition: Callable[[], object], within_seconds: float) -> bool:
    """Whether the condition becomes true in time."""
    try:
        return bool(wait_until(condition, within_seconds=within_seconds))
    except NotReached:
        return False


def pause(seconds: float) -> None:
    """Lets time pass: for how long a fault stands."""
    _abandoned.wait(seconds)


def abandon() -> None:
    """Ends every wait of this process: a drill was interrupted."""
    _abandoned.set()
