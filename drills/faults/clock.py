"""Faults of clocks (S1): the wall clock of the running daemon, or of its database's server, is set forward or back."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from drills.environment import Environment
from drills.faults.fault import Fault
from drills.states import State
from supervision.clock import SystemClock
from testkit.settable_clock import NOT_INSTALLED, SettableClock, library

PULSES, PULSE_SECONDS = 3, 5.0
"""So many pulses of the daemon's clock actor have to come, each within so long: there is one a second."""
OFF_SECONDS = 60.0
"""By how much a clock that was set may differ from what it was set to: the drill takes its time to look."""


@dataclass
class DatabaseClockSet(Fault):
    """The database server's clock is set while it runs, and put right in the end: invoices wait and leases run by it.

    The alarm that the clocks disagree is not timed: the log that would say when goes by such a clock.
    """

    lasting: bool = False
    by_seconds: float = 0.0
    can_meet: Callable[[State], bool] = lambda _: library() is not None
    clock: SettableClock | None = None

    def __post_init__(self) -> None:
        if library() is None:
            self.unmet_reason = NOT_INSTALLED

    def prepare(self, env: Environment) -> None:
        if library() is not None:
            self.clock = SettableClock(env.postgres.home / "clock")
            env.postgres.restart_with(self.clock.environment)

    def now_of(self, env: Environment) -> datetime:
        """What the clock shows."""
        ((now,),) = env.postgres.rows("SELECT clock_timestamp()")
        assert isinstance(now, datetime)
        return now

    def apply(self, env: Environment, state: State) -> None:
        if self.clock is not None:
            self.clock.set_by(self.by_seconds)
            ahead = (self.now_of(env) - SystemClock().wall()).total_seconds()
            self.met = abs(ahead - self.by_seconds) < OFF_SECONDS

    def end(self, env: Environment) -> None:
        if self.clock is not None:
            self.clock.set_by(-self.by_seconds)


@dataclass
class DaemonClockSet(DatabaseClockSet):
    """The daemon's is set, and its pulse goes on."""

    def prepare(self, env: Environment) -> None:
        if library() is not None:
            self.clock = SettableClock(env.home / "clock")
            env.daemon.environment.update(self.clock.environment)

    def now_of(self, env: Environment) -> datetime:
        return datetime.fromisoformat(env.daemon.status()["at"])

    def wait(self, env: Environment, state: State) -> None:
        for passed in range(PULSES):
            env.failpoints.enable("clock.receive", f"hold {passed}")
            env.failpoints.wait_for_arrivals("clock.receive", passed + 1, within_seconds=PULSE_SECONDS)
        env.failpoints.disable("clock.receive")
