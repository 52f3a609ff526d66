"""A daemon forked from a process that has imported billingd: importing takes longer than a month does."""

import ctypes
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

from drills.calls import doors
from drills.calls.cases import Case

_PR_SET_PDEATHSIG = 1
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([
    "drills.calls.forks", "cli.app", "cli.run", "daemon.main", "sqlalchemy.dialects.postgresql.pg8000",
    "uvicorn.lifespan.off", "uvicorn.loops.asyncio", "uvicorn.protocols.http.h11_impl",
])  # fmt: skip
_lock = threading.Lock()
"""Starting one process asks for the ends of all others, and an end is read once."""


class ForkedDaemon:
    """`billingd run`; it ends with this process. Its calls are written to `home`; `case` says which has a fault."""

    def __init__(self, home: Path, environment: dict[str, str], case: Case | None) -> None:
        self._process = _FORKS.Process(target=_run, args=(home, environment, case), daemon=True)
        with _lock:
            self._process.start()

    @property
    def exit_status(self) -> int | None:
        """None as long as it runs; minus the signal that ended it."""
        with _lock:
            return self._process.exitcode

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal, unless it has ended."""
        if self.exit_status is None and self._process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)


def _run(home: Path, environment: dict[str, str], case: Case | None) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Our end of the pipe by which the parent notices that the process of the drill has ended, among others.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    log = os.open(home / "daemon.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(source, descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(home)
    doors.install(home / "calls", case)
    sys.argv = ["billingd", "run"]
    importlib.import_module("cli.__main__").main()
