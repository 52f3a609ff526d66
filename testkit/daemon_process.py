"""The daemon of a drill: a real process with a small fast configuration, started again as systemd would."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from supervision.clock import SystemClock
from testkit.alarms_seen import AlarmsSeen
from testkit.failpoints import Failpoints
from testkit.waiting import LOOK_SECONDS, until

START_SECONDS = 90.0
RESTART_SECONDS = 0.3
"""systemd's RestartSec."""
# As short as the rules between the settings allow: lease >= total + 15, hang >= total + 10 and statement + 10.
SETTINGS: dict[str, Any] = {
    "database": {"connect_timeout_seconds": 1, "statement_timeout_seconds": 2, "lock_timeout_seconds": 0.5},
    "erp": {
        "connect_timeout_seconds": 0.5, "read_timeout_seconds": 0.8, "total_timeout_seconds": 1, "max_in_flight": 4,
        "poll_interval_seconds": 0.4, "retry": {"base_seconds": 0.2, "max_seconds": 1},
        "breaker": {"failure_threshold": 3, "reset_seconds": 1, "success_threshold": 1}, "max_incorrect_answers": 3,
    },
    "billing": {"look_every_seconds": 1},
    "work": {"lease_seconds": 16, "max_attempts": 3},
    "supervision": {
        "max_restarts": 10, "window_seconds": 4, "backoff_base_seconds": 0.1, "backoff_max_seconds": 1,
        "hang_seconds": 12,
    },
    "alarms": {"raise_within_seconds": 2, "quiet_seconds": 3},
}  # fmt: skip
RAISE_WITHIN_SECONDS = 2.0


@dataclass
class Ends:
    """How often the process ended, and how."""

    expected: int = 0
    unexpected: list[int] = field(default_factory=list)


class DaemonProcess:
    """`billingd run` over a configuration file; a thread starts it again when it ends without being asked to."""

    def __init__(
        self,
        home: Path,
        database_url: str,
        erp_url: str,
        *,
        now: str,
        more: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home
        self.log_path = home / "daemon.log"
        self.failpoints = Failpoints(home / "failpoints")
        self.alarms = AlarmsSeen(self.log_path)
        self.ends = Ends()
        self.now = now
        self._config = home / "billingd.yaml"
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._asked_to_end = True
        self._lock = threading.RLock()
        self._closed = threading.Event()
        settings = {
            "instance": "drill", "state_dir": str(home / "state"), "log": {"format": "json"},
            "database": {"url": database_url}, "erp": {"base_url": erp_url}, "ops": {"listen": f"unix:{home}/ops.sock"},
        }  # fmt: skip
        self._config.write_text(yaml.safe_dump(merged(settings, more or {})), "utf-8")
        self._systemd = threading.Thread(target=self._restart, name="drill systemd", daemon=True)
        self._systemd.start()

    @property
    def pid(self) -> int | None:
        """The process as long as it runs."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def start(self) -> None:
        """Starts it and waits until it says that it is up."""
        with self._lock:
            begun = self._spawn()
        self._wait_until_up(begun)

    def wait_until_up(self) -> None:
        """Waits until a process that was started by systemd is up."""
        until("a daemon runs", lambda: self.pid is not None, START_SECONDS)
        self._wait_until_up(0)

    def kill(self, number: signal.Signals = signal.SIGKILL, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Ends it from outside, and waits; nobody starts it before `start`. `meanwhile` is done before the waiting."""
        with self._lock:
            self._asked_to_end = True
            process = self._process
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        meanwhile()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self.ends.unexpected.append(-int(number))
        self.ends.expected += 1

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal that does not end it."""
        if self._process is not None:
            self._process.send_signal(number)

    def close(self) -> None:
        """Ends it for good."""
        self._closed.set()
        self.failpoints.disable()
        self.kill()
        self._systemd.join(10)

    def _spawn(self) -> int:
        self.failpoints.reset_counts()
        begun = self.log_path.stat().st_size if self.log_path.exists() else 0
        environment = {
            **os.environ, "BILLINGD_TEST": "1", "BILLINGD_TEST_NOW": self.now,
            "BILLINGD_TEST_POINTS": str(self.failpoints.folder), **self._environment,
        }  # fmt: skip
        for name in ("NOTIFY_SOCKET", "JOURNAL_STREAM", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"):
            environment.pop(name, None)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli.app", "--config", str(self._config), "run"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, env=environment,
            )  # fmt: skip
        self._asked_to_end = False
        return begun

    def _wait_until_up(self, begun: int) -> None:
        until("the daemon is up", lambda: b"is up as" in self.log_path.read_bytes()[begun:], START_SECONDS)

    def _restart(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            with self._lock:
                process = self._process
                if process is None or self._asked_to_end or process.poll() is None:
                    continue
                self.ends.unexpected.append(process.returncode)
            self._closed.wait(RESTART_SECONDS)
            with self._lock:
                if not self._asked_to_end and not self._closed.is_set():
                    self._spawn()


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The first with the second's values laid over it."""
    result = dict(one)
    for key, value in other.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def wall_seconds() -> float:
    """The wall clock in seconds since 1970, as the daemon's log tells it."""
    return SystemClock().wall().timestamp()
