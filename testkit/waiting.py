"""Waiting for what has to become true, with a deadline; nothing in a drill sleeps for luck."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

LOOK_SECONDS = 0.05

T = TypeVar("T")

_abandoned = threading.Event()


class NotReached(Exception):  # noqa: N818 - named for what is so
    """What had to become true didn't in time; the message says what."""


def until(what: str, look: Callable[[], T], seconds: float, every: float = LOOK_SECONDS) -> T:
    """Looks until the answer is true and returns it. Raises NotReached."""
    give_up = time.monotonic() + seconds
    while True:
        if found := look():
            return found
        if _abandoned.is_set():
            raise NotReached("the drill was abandoned")
        if time.monotonic() >= give_up:
            raise NotReached(f"not within {seconds:g} s: {what}")
        pause(every)


def comes_true(look: Callable[[], object], seconds: float) -> bool:
    """Whether the answer becomes true in time."""
    try:
        return bool(until("", look, seconds))
    except NotReached:
        return False


def pause(seconds: float) -> None:
    """Lets time pass: for how long a fault stands."""
    _abandoned.wait(seconds)


def abandon() -> None:
    """Lets nobody wait any longer: the drill ends."""
    _abandoned.set()
