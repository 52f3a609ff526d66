"""Outages: database or ERP away for long, over two month ends, with the configuration's own limits."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from config.settings import Settings
from drills.environment import FINISH_SECONDS, Environment, Setting
from drills.judge import judge
from drills.run import Verdict, run_each
from drills.workload import Workload
from testkit.daemon_log import supervision_events
from testkit.usage import cpu_seconds, resident_mb
from testkit.waiting import NotReached, pause, wait_until

STATIONS = ("database", "ERP")
DAYS = 40
BEGIN, END = "2026-11-25T00:00:00Z", "2027-01-15T00:00:00Z"
PERIODS = 5
"""Those that have closed by END; two of them while the outage stands."""
FIRST_SIGNS_SECONDS = 10.0
"""After the beginning, until the alarm has been raised and every actor waits."""
CPU_PERCENT_AT_MOST = 5.0
LINES_A_MINUTE_AT_MOST = 20.0
GROWTH_MB_AT_MOST = 8.0
RESUMES_WITHIN_SECONDS = 5.0


@dataclass
class OutageResult(Verdict):
    """What an outage came to; percent of one core, of the time after the first signs."""

    station: str = ""
    cpu_percent: float = 0.0
    log_lines_a_minute: float = 0.0
    memory_mb: float = 0.0
    growth_mb: float = 0.0
    restarts: int = 0
    resumed_seconds: float | None = None

    def said(self) -> str:
        return (
            f"{self.station} away for {self.seconds:g} s, {DAYS} days by the test clock: "
            f"{self.cpu_percent:.1f} % of a core, {self.log_lines_a_minute:.1f} log lines a minute, "
            f"{self.memory_mb:.0f} MB ({self.growth_mb:+.1f}), {self.restarts} restarts, "
            f"resumed after {self.resumed_seconds} s"
        )


@dataclass(frozen=True)
class _Reading:
    """What the daemon's process has used until an instant."""

    at: float
    cpu_seconds: float
    memory_mb: float
    log_lines: int


class Outage:
    def __init__(self, env: Environment, station: str, seconds: float) -> None:
        self.result = OutageResult(seconds, station=station)
        self._env = env

    def run(self) -> OutageResult:
        env, result = self._env, self.result
        leave, come_back, within_seconds = self._of_station()
        try:
            env.daemon.start()
            env.wait_all_in("registered", FINISH_SECONDS)
            before = len(env.debts)
            leave()
            pause(min(FIRST_SIGNS_SECONDS, result.seconds / 4))
            first = self._read()
            pause(result.seconds - FIRST_SIGNS_SECONDS)
            self._compare(first, self._read())
            back = time.monotonic()
            come_back()
            wait_until(
                lambda: env.count("registered") > before,
                within_seconds=within_seconds + FINISH_SECONDS,
                what="work resumes",
            )
            result.resumed_seconds = round(time.monotonic() - back, 1)
            if result.resumed_seconds > within_seconds:
                result.wrong.append(f"work resumed after {result.resumed_seconds:g} s, not within {within_seconds:g} s")
            env.now = END
            env.wait_all_in("registered", FINISH_SECONDS)
        except NotReached as error:
            result.wrong.append(str(error))
        env.wait_alarms_cleared()
        env.daemon.kill()
        result.restarts = len(supervision_events(env.daemon.log_path, "Restarting"))
        if result.restarts or env.daemon.unexpected_ends:
            result.wrong.append(
                f"{result.restarts} restarts were used up, the process ended {env.daemon.unexpected_ends}"
            )
        result.wrong += judge(env)
        return result

    def _of_station(self) -> tuple[Callable[[], None], Callable[[], None], float]:
        """How to stop it, how to start it, and within how many seconds work has to resume."""
        env = self._env
        if self.result.station == "database":
            return env.postgres.stop, env.postgres.start, RESUMES_WITHIN_SECONDS
        reset_seconds = Settings().erp.breaker.reset_seconds
        return env.erp.kill, env.erp.start, reset_seconds + RESUMES_WITHIN_SECONDS

    def _read(self) -> _Reading:
        pid, log = self._env.daemon.running_pid(), self._env.daemon.log_path
        return _Reading(time.monotonic(), cpu_seconds(pid), resident_mb(pid), log.read_bytes().count(b"\n"))

    def _compare(self, first: _Reading, last: _Reading) -> None:
        result, seconds = self.result, last.at - first.at
        result.cpu_percent = 100 * (last.cpu_seconds - first.cpu_seconds) / seconds
        result.log_lines_a_minute = (last.log_lines - first.log_lines) / seconds * 60
        result.memory_mb, result.growth_mb = last.memory_mb, last.memory_mb - first.memory_mb
        limits = (
            ("% of a core", result.cpu_percent, CPU_PERCENT_AT_MOST),
            ("log lines a minute", result.log_lines_a_minute, LINES_A_MINUTE_AT_MOST),
            ("MB more memory", result.growth_mb, GROWTH_MB_AT_MOST),
        )
        result.wrong += [f"{found:.1f} {what}, not {limit:g}" for what, found, limit in limits if found > limit]


def run_outages(seconds: float, folder: Path, tell: Callable[[str], None]) -> bool:
    """Outages of both stations, one after another; whether both held."""
    speed = round(DAYS * 86_400 / seconds)
    setting = Setting(fast=False, now=BEGIN, daemon={"alarms": {"quiet_seconds": 3}})
    drills = {f"outage-{station}": partial(_run, station, seconds, speed) for station in STATIONS}
    return run_each(drills, Workload(months=PERIODS), setting, folder, tell)


def _run(station: str, seconds: float, speed: int, env: Environment) -> OutageResult:
    env.daemon.environment["BILLINGD_TEST_NOW"] = f"{BEGIN}*{speed}"
    return Outage(env, station, seconds).run()
