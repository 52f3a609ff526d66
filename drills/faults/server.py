"""Faults of our own server: off the network, frozen, its clock set (S1), throwing (S2)."""

import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from drills.environment import Environment, Setting
from drills.faults.fault import BRIEF_SECONDS, Fault, SmallDisk, at_work
from drills.states import State
from drills.workload import Workload
from testkit.daemon_log import wall_seconds
from testkit.waiting import becomes_true

WAS_DOWN = ("daemon_was_down",)


@dataclass
class Restarted(Fault):
    """The process is ended while its work is in flight, and started again, perhaps months later."""

    codes: tuple[str, ...] = WAS_DOWN
    lasts_seconds: float = BRIEF_SECONDS
    how: signal.Signals = signal.SIGKILL
    later: str | None = None
    alarm_after_end: bool = True
    started_at: float | None = None

    def apply(self, env: Environment, state: State) -> None:
        # What is held has to go on, or the process could not end in order.
        env.daemon.kill(self.how, lambda: state.release(env))

    def end(self, env: Environment) -> None:
        if self.later is not None:
            env.set_clock(self.later)
        env.daemon.start()
        self.started_at = wall_seconds()

    def first_sign(self, env: Environment) -> float | None:
        return self.started_at


@dataclass
class Raises(Fault):
    """The actor at work in this state raises, once; with `no_start` its successors fail to start for a while."""

    codes: tuple[str, ...] = ("actor_crashed",)
    action: str = "raise once"
    lasts_seconds: float = 0.0
    replaces_hold: bool = True
    no_start: bool = False

    def apply(self, env: Environment, state: State) -> None:
        if self.no_start:
            env.failpoints.enable(f"{state.actor}.start", "raise")
        env.failpoints.enable(state.failpoint, self.action)

    def released(self, env: Environment, state: State) -> None:
        self.met = becomes_true(lambda: not env.failpoints.is_enabled(state.failpoint), 10)

    def end(self, env: Environment) -> None:
        env.failpoints.disable()


@dataclass
class RaisesEvery(Fault):
    """The actor at work in this state raises on every message; with `ends_process` until the daemon gives up."""

    codes: tuple[str, ...] = ("actor_crashed",)
    replaces_hold: bool = True

    def apply(self, env: Environment, state: State) -> None:
        # Work on one invoice may raise and end nobody: to end the process it is raised outside of it.
        in_work = state.actor == "courier" and not self.ends_process
        env.failpoints.disable()
        if self.ends_process:
            env.failpoints.enable(f"{state.actor}.start", "raise")
        env.failpoints.enable(state.failpoint if in_work else f"{state.actor}.receive", "raise")

    def wait(self, env: Environment, state: State) -> None:
        if self.ends_process:
            self.met = becomes_true(lambda: env.daemon.unexpected_ends, 30)
        else:
            super().wait(env, state)

    def end(self, env: Environment) -> None:
        env.failpoints.disable()
        if self.ends_process:
            env.daemon.wait_until_up()


@dataclass
class Poison(Fault):
    """One invoice crashes every actor that works on it; the others go on."""

    codes: tuple[str, ...] = ("poison_invoice",)
    silence_seconds: float = 20.0
    affects_one: bool = True
    replaces_hold: bool = True
    can_meet: Callable[[State], bool] = at_work

    def apply(self, env: Environment, state: State) -> None:
        if not state.has_work:
            return
        self.target = env.debts[0]
        failpoint = {"due": "biller.calculate", "calculated": "courier.send"}.get(state.name, state.failpoint)
        # In this order: an actor held at the same failpoint must not pass while nothing is enabled there.
        env.failpoints.enable(failpoint, "raise", [self.target])
        if failpoint != state.failpoint:
            env.failpoints.disable(state.failpoint)

    def end(self, env: Environment) -> None:
        env.failpoints.disable()


@dataclass
class InboxDisk(SmallDisk):
    """The inbox takes no more: it is full, or has become read-only."""

    codes: tuple[str, ...] = ("inbox_unusable",)
    can_meet: Callable[[State], bool] = lambda state: state.actor == "importer"
    read_only: bool = False

    def folder(self, env: Environment) -> Path:
        return env.inbox

    def apply(self, env: Environment, state: State) -> None:
        if self.read_only:
            self._remount("ro")
        else:
            super().apply(env, state)

    def end(self, env: Environment) -> None:
        self._remount("rw")
        super().end(env)

    def _remount(self, how: str) -> None:
        if self.mounted is not None:
            subprocess.run(["mount", "-o", f"remount,{how}", str(self.mounted)], check=True)


MANY_USERS = 50
"""Their invoices make one batch, and are all under way at once."""


@dataclass
class PoisonInFullBatch(Poison):
    """It is one of many in a batch. Isolating it must use up no restart that other faults need."""

    setting: Setting = field(default_factory=lambda: Setting(daemon={"erp": {"max_in_flight": MANY_USERS}}))

    def prepare(self, env: Environment) -> None:
        env.workload = Workload(users=MANY_USERS)
        env.workload.load(env.postgres, env.home, late=False)
