"""A process that has imported billingd and forks a daemon at each order: importing takes longer than a month does."""

import ctypes
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from drills.calls.cases import Case
from testkit.waiting import wait_until

_PR_SET_PDEATHSIG = 1
_IMPORTED = (
    "cli.__main__", "cli.app", "cli.run", "daemon.main", "drills.calls.doors", "sqlalchemy.dialects.postgresql.pg8000",
    "uvicorn.lifespan.off", "uvicorn.loops.asyncio", "uvicorn.protocols.http.h11_impl",
)  # fmt: skip


class Zygote:
    """The process; it ends with ours, and so does every daemon of it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", "drills.calls.zygote"], stdin=subprocess.PIPE)

    def start(self, home: Path, environment: dict[str, str], case: Case | None) -> "ForkedDaemon":
        """Has it fork `billingd run`, whose calls are written to `home`; `case`: which of them has a fault."""
        status = home / "status"
        status.unlink(missing_ok=True)
        order = {"home": str(home), "environment": environment, "case": case and asdict(case)}
        assert self._process.stdin is not None, "it is a pipe"
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        pid = wait_until(lambda: _number(home / "pid"), what="a daemon is forked", every_seconds=0.005)
        (home / "pid").unlink()
        assert pid is not None, "it was waited for"
        return ForkedDaemon(pid, status)

    def close(self) -> None:
        assert self._process.stdin is not None, "it is a pipe"
        self._process.stdin.close()
        self._process.wait()


class ForkedDaemon:
    def __init__(self, pid: int, status: Path) -> None:
        self.pid, self._status = pid, status

    @property
    def exit_status(self) -> int | None:
        """None as long as it runs; minus the signal that ended it."""
        return _number(self._status)

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal, unless it has ended."""
        if self.exit_status is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _main() -> None:
    for module in _IMPORTED:
        importlib.import_module(module)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            _end_with_status(partial(_watch, **json.loads(line)))


def _watch(home: str, environment: dict[str, str], case: dict[str, object] | None) -> int:
    """Forks the daemon and leaves its exit status in a file."""
    _end_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if (pid := os.fork()) == 0:
        _end_with_status(lambda: _run_daemon(Path(home), environment, case))
    _leave(Path(home) / "pid", pid)
    _leave(Path(home) / "status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return 0


def _run_daemon(home: Path, environment: dict[str, str], case: dict[str, object] | None) -> int:
    _end_with_parent()
    log = os.open(home / "daemon.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(source, descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(home)
    doors = importlib.import_module("drills.calls.doors")
    doors.install(home / "calls", case)
    sys.argv = ["billingd", "run"]
    importlib.import_module("cli.__main__").main()
    return 0


def _end_with_status(run: Callable[[], int]) -> None:
    status = 1
    try:
        status = run()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _leave(path: Path, number: int) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(str(number))
    fresh.replace(path)


if __name__ == "__main__":
    _main()
