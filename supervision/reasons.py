"""The exit reasons: why an incarnation ended."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Reason:
    """Root of the exit reasons; a transient child is restarted only after an abnormal one."""

    abnormal: ClassVar[bool] = True


@dataclass(frozen=True)
class _Explained(Reason):
    abnormal: ClassVar[bool] = False
    detail: str = ""

    def __str__(self) -> str:
        return type(self).__name__ + (f": {self.detail}" if self.detail else "")


class Normal(_Explained):
    """It ended by itself, its work done: OTP's `normal`."""


class Unstarted(_Explained):
    """There was no incarnation to watch."""


class Shutdown(_Explained):
    """It ended because it was told to, or of its own accord with an explanation: OTP's `shutdown`."""


class Declined(_Explained):
    """It had nothing to do and did not start: OTP's `ignore`."""


class GaveUp(_Explained):
    """A supervisor's restart limit was reached; to its parent this is a `shutdown`, as in OTP."""


@dataclass(frozen=True)
class _Raised(Reason):
    """An exception ended it. The traceback is text, because frames would keep the dead actor in memory."""

    exception: BaseException
    traceback: str = ""

    def __str__(self) -> str:
        return f"{type(self).__name__}: {type(self.exception).__name__}: {self.exception}"


class Crashed(_Raised):
    """`on_receive` raised, whatever the class."""


class FailedToStart(_Raised):
    """The factory or `on_start` raised."""


class StopFailed(_Raised):
    """`on_stop` raised."""


class ThreadNotStarted(_Raised):
    """The machine refused a thread."""


@dataclass(frozen=True)
class _WrittenOff(Reason):
    """Its thread was still busy and has been left to itself, fenced; `stack` is where it stood."""

    seconds: float
    stack: str = ""

    def __str__(self) -> str:
        return f"{type(self).__name__} after {self.seconds:g} s"


class Hung(_WrittenOff):
    """Busy with one message for longer than its hang deadline."""


class StartOverdue(_WrittenOff):
    """Its start did not end within its deadline."""


class Abandoned(_WrittenOff):
    """It was told to stop and did not within its budget: neither a crash nor a hang."""

    abnormal = False


@dataclass(frozen=True)
class ChildFailed(Reason):
    """A supervisor did not come up because a child of it did not."""

    child: str
    reason: Reason

    def __str__(self) -> str:
        return f"{self.child} did not start: {self.reason}"


def detached(error: BaseException) -> tuple[BaseException, str]:
    """The exception without its frames, which would keep the dead actor in memory, and its traceback as text."""
    text = "".join(traceback.format_exception(error))
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error, text
