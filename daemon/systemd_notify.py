"""Notifies systemd of start, reload, stop and status; without systemd it does nothing."""

import os
import socket
import time
from collections.abc import MutableMapping


class SystemdNotifier:
    """A sender of notify messages that never raises and never blocks.

    It takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of `environ`, so that no child, the
    embedded database for one, speaks in the daemon's name. A second one made later is therefore mute.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        # systemd writes the leading zero byte of an abstract socket as @.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
            environ.pop(name, None)
        self._owed: tuple[str, ...] = ()  # what systemd waits for, and did not take

    def send(self, *assignments: str) -> bool:
        """Send `NAME=value` assignments in one message; return whether they left.

        READY=1 goes with a later one if not: without it systemd ends a start or a reload that is long done.
        """
        if not self._address:
            return False
        assignments = (*self._owed, *assignments)
        self._owed = ("READY=1",) if "READY=1" in assignments else ()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(assignments).encode(errors="replace"), self._address)
        except (OSError, ValueError):
            return False
        self._owed = ()
        return True

    def ready(self, status: str = "") -> bool:
        """Say that the start, or a reload, is done."""
        return self.send("READY=1", *_status(status))

    def status(self, text: str) -> bool:
        return self.send(*_status(text or " "))

    def watchdog(self) -> bool:
        return self.send("WATCHDOG=1")

    def reloading(self) -> bool:
        """Say that a reload has begun; `ready` ends it."""
        return self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> bool:
        return self.send("STOPPING=1", *_status(status))

    def extend_timeout(self, seconds: float) -> bool:
        """Ask for `seconds` more, from now, to start or stop in."""
        return self.send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")


def _status(text: str) -> tuple[str, ...]:
    # A line break would end the assignment and start another.
    return (f"STATUS={' '.join(text.split())}",) if text else ()
