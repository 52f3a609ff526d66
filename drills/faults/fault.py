"""What a fault is to a drill: how it strikes, how long it stands, what it raises, and how it ends."""

from collections.abc import Callable
from dataclasses import dataclass, field

from drills.environment import Environment, Setting
from drills.states import State
from testkit.waiting import pause

LONG_SECONDS = 2.5
"""Longer than the breaker's reset time and the largest backoff of the drill's configuration."""
BRIEF_SECONDS = 0.3


@dataclass
class Fault:
    """The base of all: a fault that does nothing.

    `codes`: the alarms of which one has to be raised, if it is `lasting` and met. `silence_seconds`: at the most so
    long after the daemon meets it comes its first sign. `affects_one`: it strikes one invoice, and the others go on.
    """

    codes: tuple[str, ...] = ()
    lasting: bool = True
    lasts_seconds: float = LONG_SECONDS
    silence_seconds: float = 0.0
    affects_one: bool = False
    holds_some: bool = True
    """Whether invoices may be held because of it."""
    offers_again: bool = False
    """Whether what the ERP has may be offered to it again: it lied about it, or we have forgotten."""
    ends_process: bool = False
    """Whether the daemon may end by its own giving up."""
    alarm_after_end: bool = False
    """Whether its alarm is raised only when it is over, as by a process that was down."""
    setting: Setting = field(default_factory=Setting)
    unmet_reason: str = "could not be met in this state"
    """Why the daemon has not met it, where it has not."""
    met: bool = True
    """Whether it has really touched the daemon."""

    def prepare(self, env: Environment) -> None:
        """Before the daemon starts."""

    def can_meet(self, state: State) -> bool:
        """Whether the daemon meets it in this state."""
        return True

    def apply(self, env: Environment, state: State) -> None:
        """Begins; the state is let go afterwards."""

    def release(self, env: Environment, state: State) -> None:
        """Lets the daemon go on from where it is held."""
        state.release(env)

    def released(self, env: Environment, state: State) -> None:
        """The daemon goes on, into the fault."""

    def first_sign(self, env: Environment) -> float | None:
        """When the daemon could notice it first, in wall seconds, where that was seen; else strike and silence."""
        return None

    def was_met(self, env: Environment) -> bool:
        """The same, where it is to be read from the environment."""
        return self.met

    def wait(self, env: Environment) -> None:
        """Waits as long as it stands at the least."""
        pause(self.lasts_seconds)

    def end(self, env: Environment) -> None:
        """Is over."""

    def unaffected(self, env: Environment) -> list[str]:
        """The invoices that go on meanwhile."""
        return []

    def close(self) -> None:
        """Whatever became of the drill: nothing of the fault is left behind."""


@dataclass
class Switched(Fault):
    """One call on the environment begins it, another ends it."""

    on: Callable[[Environment], object] = lambda _: None
    off: Callable[[Environment], object] = lambda _: None

    def apply(self, env: Environment, state: State) -> None:
        self.on(env)

    def end(self, env: Environment) -> None:
        self.off(env)
