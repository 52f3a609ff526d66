"""The daemon as a process that can be killed, frozen and asked, and that is started again as systemd would."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from testkit.daemon_log import AlarmLog
from testkit.failpoints import Failpoints
from testkit.waiting import LOOK_SECONDS, WAIT_SECONDS, wait_until

START_SECONDS = 90.0
RESTART_SECONDS = 0.3
"""systemd's RestartSec."""


class DaemonProcess:
    """`billingd run` in a folder; with `restarts` a thread starts it again when it ends without being asked to.

    `environment` is read at each start and may be changed in between; so may `command_prefix`, a program that runs it.
    """

    def __init__(self, home: Path, environment: dict[str, str], *, restarts: bool = False) -> None:
        self.environment = environment
        self.command_prefix: tuple[str, ...] = ()
        self.log_path = home / "daemon.log"
        self.alarms = AlarmLog(self.log_path)
        self.unexpected_ends: list[int] = []
        """The exit statuses of ends that were not asked for."""
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._asked_to_end = True
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._restarts = restarts
        if restarts:
            threading.Thread(target=self._restart, name="systemd", daemon=True).start()

    @cached_property
    def failpoints(self) -> Failpoints:
        """The failpoints of the process. Ask for them before it starts: else it has none."""
        failpoints = Failpoints(self._home / "failpoints")
        self.environment["BILLINGD_TEST_POINTS"] = str(failpoints.folder)
        return failpoints

    @property
    def pid(self) -> int | None:
        """The process as long as it runs."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def running_pid(self) -> int:
        """The same of a process that has to run."""
        assert self.pid is not None, f"the daemon doesn't run: {self.log()[-2000:]}"
        return self.pid

    def start(self, *, wait: bool = True) -> None:
        """Starts it and waits until it is up."""
        with self._lock:
            self._spawn()
        if wait:
            self.wait_until_up()

    def wait_until_up(self) -> None:
        """Waits until it answers; one that is not started again has to run."""
        abort: Callable[[], object] = (lambda: None) if self._restarts else self.running_pid
        wait_until(self.is_up, within_seconds=START_SECONDS, what="the daemon is up", abort=abort)

    def is_up(self) -> bool:
        """Whether the process of now answers on its ops socket."""
        try:
            return self.pid is not None and self._get("healthz").status_code == 200
        except httpx.HTTPError:
            return False

    def kill(
        self,
        number: signal.Signals = signal.SIGKILL,
        meanwhile: Callable[[], object] = lambda: None,
        *,
        within_seconds: float = WAIT_SECONDS,
    ) -> int:
        """Ends it by a signal, and waits; only `start` starts it again. Returns the exit status.

        `meanwhile` is done before the waiting. One that doesn't end in time is killed, and has ended unexpectedly.
        """
        with self._lock:
            self._asked_to_end = True
            process = self._process
        if process is None:
            return 0
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        meanwhile()
        try:
            process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self.unexpected_ends.append(-int(number))
        return process.returncode

    def stop(self, *, within_seconds: float = WAIT_SECONDS) -> int:
        """Ends it in order, as systemd does. Returns the exit status."""
        return self.kill(signal.SIGTERM, within_seconds=within_seconds)

    def wait(self, seconds: float) -> int:
        """Waits for its end. Raises subprocess.TimeoutExpired."""
        assert self._process is not None, "it was started"
        return self._process.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal that does not end it."""
        if self._process is not None:
            self._process.send_signal(number)

    def close(self) -> None:
        self._closed.set()
        if "failpoints" in vars(self):
            self.failpoints.disable()
        if self.pid is not None:
            self.kill()

    # What it says

    def status(self) -> dict[str, Any]:
        """What it answers to /status. Raises httpx.HTTPError."""
        return dict(self._get("status").json())

    def standing(self) -> dict[str, dict[str, Any]]:
        """The standing alarms by code, as it knows them. Raises httpx.HTTPError."""
        return {alarm["code"]: alarm for alarm in self.status()["alarms"]}

    def log(self) -> str:
        """All that it and its predecessors have written."""
        return self.log_path.read_text("utf-8", errors="replace") if self.log_path.exists() else ""

    def _get(self, path: str) -> httpx.Response:
        with httpx.Client(transport=httpx.HTTPTransport(uds=f"{self._home}/ops.sock"), timeout=5) as client:
            return client.get(f"http://daemon/{path}")

    def _spawn(self) -> None:
        if "failpoints" in vars(self):
            self.failpoints.reset_counts()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command_prefix, sys.executable, "-m", "cli", "run"], cwd=self._home, env=self.environment,
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self._asked_to_end = False

    def _restart(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            with self._lock:
                process = self._process
                if process is None or self._asked_to_end or process.poll() is None:
                    continue
                self.unexpected_ends.append(process.returncode)
            self._closed.wait(RESTART_SECONDS)
            with self._lock:
                if not self._asked_to_end and not self._closed.is_set():
                    self._spawn()


def environment_of(config_path: Path, now: str, more: Mapping[str, str]) -> dict[str, str]:
    """That of a daemon and its commands under test: without what systemd may have set for us."""
    root = str(Path(__file__).resolve().parents[1])
    of_systemd = ("NOTIFY_SOCKET", "JOURNAL_STREAM", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY")
    return {
        **{name: value for name, value in os.environ.items() if name not in of_systemd},
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "BILLINGD_TEST": "1", "BILLINGD_TEST_NOW": now, "BILLINGD_CONFIG": str(config_path), **more,
    }  # fmt: skip
