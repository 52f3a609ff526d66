"""Faults of clocks (S1): the wall clock of the running daemon, or of its database's server, is set forward or back."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import httpx

from drills.environment import Environment
from drills.faults.fault import LONG_SECONDS, Fault
from drills.states import State
from supervision.clock import SystemClock
from testkit.failpoints import Failpoints
from testkit.settable_clock import NOT_INSTALLED, SettableClock, library
from testkit.waiting import pause, wait_until

HOUR = 3600.0
DAY = 24 * HOUR
YEAR = 365 * DAY
PULSES, PULSE_SECONDS = 3, 5.0
"""So many pulses of the daemon's clock actor have to come, each within so long: there is one a second."""
OFF_SECONDS = 60.0
"""By how much a clock that was set may differ from what it was set to: the drill takes its time to look."""


@dataclass
class _ClockSet(Fault):
    """A wall clock is set by so many seconds while its program runs, and goes on from there; no alarm is due."""

    lasting: bool = False
    by_seconds: float = 0.0
    clock: SettableClock | None = None
    met: bool = False

    def can_meet(self, state: State) -> bool:
        if library() is None:
            self.unmet_reason = NOT_INSTALLED
        return library() is not None

    def apply(self, env: Environment, state: State) -> None:
        if self.clock is not None:
            self.clock.set_by(self.by_seconds)
            ahead = (self.now_of(env) - SystemClock().wall()).total_seconds()
            self.met = abs(ahead - self.by_seconds) < OFF_SECONDS

    def now_of(self, env: Environment) -> datetime:
        """What the clock shows."""
        raise NotImplementedError

    def was_met(self, env: Environment) -> bool:
        return self.met


@dataclass
class DaemonClockSet(_ClockSet):
    """The daemon's, whose pulse goes on."""

    def prepare(self, env: Environment) -> None:
        if library() is not None:
            self.clock = SettableClock(env.home / "clock")
            env.daemon.environment.update(self.clock.environment)

    def now_of(self, env: Environment) -> datetime:
        with httpx.Client(transport=httpx.HTTPTransport(uds=f"{env.home}/ops.sock"), timeout=10) as client:
            return datetime.fromisoformat(client.get("http://daemon/status").json()["at"])

    def wait(self, env: Environment) -> None:
        failpoints, name = env.failpoints, "clock.receive"
        for passed in range(PULSES):
            failpoints.enable(name, f"hold {passed}")
            wait_until(
                partial(_has_come, failpoints, name, passed),
                within_seconds=PULSE_SECONDS,
                what="the clock actor's next pulse",
            )
        failpoints.disable(name)


def _has_come(failpoints: Failpoints, name: str, passed: int) -> bool:
    return failpoints.reached(name) > passed


@dataclass
class DatabaseClockSet(_ClockSet):
    """The database server's, by which invoices wait and leases run."""

    def prepare(self, env: Environment) -> None:
        if library() is not None:
            self.clock = SettableClock(env.postgres.home / "clock")
            env.postgres.restart_with(self.clock.environment)

    def now_of(self, env: Environment) -> datetime:
        ((now,),) = env.postgres.rows("SELECT clock_timestamp()")
        assert isinstance(now, datetime)
        return now

    def wait(self, env: Environment) -> None:
        pause(LONG_SECONDS)


CLOCKS: dict[str, Callable[[], Fault]] = {
    "clock_steps_forward": lambda: DaemonClockSet(by_seconds=120 * DAY),
    "clock_steps_back": lambda: DaemonClockSet(by_seconds=-HOUR),
    "clock_steps_back_years": lambda: DaemonClockSet(by_seconds=-10 * YEAR),
    "database_clock_forward": lambda: DatabaseClockSet(by_seconds=120 * DAY),
    "database_clock_back": lambda: DatabaseClockSet(by_seconds=-10 * YEAR),
}
