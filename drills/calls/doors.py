"""The calls that a daemon makes to this machine: files, notify datagrams, threads; counted, and failed, here.

It also makes the daemon's own time run faster, so that its waits cost next to nothing. The database's clock and
CLOCK_BOOTTIME, by which leases go, stay as they are.
"""

import errno
import io
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drills.calls.cases import ERROR, KILLED_AFTER, KILLED_BEFORE, LOST, SLOW, TIMEOUT, Case, Plan, kind_of
from persistence.connection import session
from supervision.clock import SystemClock

SPEED = 5.0
"""Of the clock by which the daemon's pulses, backoffs and limits go."""
ANSWER_GRACE_SECONDS = 0.3
SLOW_SECONDS = 5.5
"""More than twice the `hang_seconds` of the month, by the faster clock."""
_ROOMS = ("actors", "alarming", "config", "daemon", "files", "intake", "persistence", "supervision", "web")
_ERRORS: dict[str, dict[str, Exception]] = {
    "notify": {ERROR: OSError(errno.ENOBUFS, "no buffer space"), TIMEOUT: BlockingIOError(errno.EAGAIN, "try again")},
    "thread": {ERROR: RuntimeError("can't start new thread")},
}
_OF_FILES: dict[str, Exception] = {
    ERROR: OSError(errno.ENOSPC, "no space left on device"),
    TIMEOUT: OSError(errno.ETIMEDOUT, "timed out"),
}
_WRITING = os.O_WRONLY | os.O_RDWR


def install(calls: Path, case: Case | None) -> None:
    """Puts the doors into this process, which writes each call's site to the file `calls`."""
    written = os.open(calls, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    write, sleep = os.write, threading.Event().wait
    plan = Plan(case, lambda site: void(write(written, f"{site}\n".encode())))

    def door(site: str | None, real: Callable[[], Any]) -> Any:
        if site is None:
            return real()
        fault = plan.arrive(site)
        if fault is None:
            return real()
        write(written, b"!\n")
        kind = kind_of(site)
        if fault in (ERROR, TIMEOUT):
            raise (_ERRORS.get(kind) or _OF_FILES)[fault]
        if fault == KILLED_BEFORE:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == SLOW:
            sleep(SLOW_SECONDS)
        result = real()
        if fault == KILLED_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == LOST:
            raise OSError(errno.EIO, "input/output error")
        return result

    def put(owner: Any, name: str, kind: str, counts: Callable[..., bool] = lambda *_: True) -> None:
        real = getattr(owner, name)

        def replaced(*args: Any, **named: Any) -> Any:
            return door(_site(kind) if counts(*args) else None, lambda: real(*args, **named))

        setattr(owner, name, replaced)

    put(os, "write", "write")
    put(os, "fsync", "fsync")
    for name in ("replace", "rename"):
        put(os, name, "replace")
    put(os, "unlink", "unlink")
    put(os, "open", "open", lambda _path, flags, *_: bool(flags & _WRITING))
    put(io, "open", "open", lambda _path, mode="r", *_: any(each in mode for each in "wax+"))
    put(socket.socket, "sendto", "notify")
    put(threading.Thread, "start", "thread")
    _quicken()


def void(_: object) -> None:
    """Drops what a call returns."""


def _site(kind: str) -> str | None:
    """The function of ours that makes the call, and the role of its thread; None for others and for the log."""
    frame = sys._getframe(2)
    for _ in range(12):
        module = frame.f_globals.get("__name__", "")
        if module == "daemon.logs":
            return None
        if module != "files.durable" and module.partition(".")[0] in _ROOMS:
            role = re.sub(r"\d+", "N", threading.current_thread().name)
            return f"{kind}: {role}: {module}.{frame.f_code.co_name}"
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None


def _quicken() -> None:
    def wait(_: SystemClock, event: threading.Event, seconds: float | None) -> bool:
        return event.wait(None if seconds is None else seconds / SPEED)

    setattr(SystemClock, "monotonic", lambda _: time.monotonic() * SPEED)  # noqa: B010 - mypy knows it for a method
    setattr(SystemClock, "wait", wait)  # noqa: B010
    session.ANSWER_GRACE_SECONDS = ANSWER_GRACE_SECONDS
