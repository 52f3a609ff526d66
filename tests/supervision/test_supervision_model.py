"""Random trees and histories: the real tree and the model of OTP's rules agree after every step."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervision import (
    AutoShutdown,
    NotRunning,
    Restart,
    Shutdown,
    Spec,
    StartFailed,
    Strategy,
    SupervisionError,
    SupervisorSpec,
    UnknownName,
)
from tests.supervision.supervision_kit import FullWait, Probes, raised, states
from tests.supervision.supervision_model import Member, Model
from tests.support.supervision import DrivenSystem

SEQUENCES = int(os.environ.get("SUPERVISION_SEQUENCES", "1000"))
WORKERS = "abcdefgh"
MOMENT = 1 / 1024  # so that no two things are ever due at the same instant; exact in binary


def _spec(draw: Any, probes: Probes, name: str, names: list[str], depth: int, backoff: float) -> SupervisorSpec:
    strategy = draw(st.sampled_from(list(Strategy)))
    auto = draw(st.sampled_from([AutoShutdown.NEVER, *AutoShutdown]))
    children: list[Spec] = []
    options: dict[str, Any]
    for number in range(draw(st.integers(1, 3))):
        restart = draw(st.sampled_from([Restart.PERMANENT, *Restart]))
        significant = auto is not AutoShutdown.NEVER and restart is not Restart.PERMANENT
        significant = significant and draw(st.booleans())
        nested = depth > 0 and strategy is not Strategy.POOL and draw(st.booleans())
        if nested:
            inner = _spec(draw, probes, f"{name}{number}", names, depth - 1, backoff)
            options = {"restart": restart, "significant": significant}
            children.append(SupervisorSpec(**{**_fields(inner), **options}))
        elif names:
            exemption = {"exempt_from_max_restarts": lambda _: True, "max_exempt_restarts": 2, "window_seconds": 8.0}
            options = {"restart": restart, "significant": significant, "hang_seconds": None}
            options |= exemption if draw(st.booleans()) else {}
            children.append(probes.child(names.pop(0), **options))
    return SupervisorSpec(
        name,
        strategy,
        tuple(children),
        max_restarts=draw(st.integers(0, 4)),
        window_seconds=8.0,
        backoff_base_seconds=backoff,
        backoff_max_seconds=4.0,
        stable_seconds=5.0,
        auto_shutdown=auto,
    )


def _fields(spec: SupervisorSpec) -> dict[str, Any]:
    return {key: getattr(spec, key) for key in spec.__dataclass_fields__ if not key.startswith("_")}


class Agreement(RuleBasedStateMachine):
    """Does the same to both and compares states, epochs and the order of every start and stop."""

    def __init__(self) -> None:
        super().__init__()
        self.probes = Probes()

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """A random tree; some of its workers decline or fail to start."""
        backoff = data.draw(st.sampled_from([0.0, 1.0]))
        spec = _spec(data.draw, self.probes, "S", list(WORKERS), 2, backoff)
        few = st.sets(st.sampled_from(WORKERS), max_size=2)
        self.probes.declining = data.draw(few)
        self.probes.failing_starts = dict.fromkeys(data.draw(st.one_of(st.just(set()), few)), 1.0)
        self.model = Model(spec, self.probes.failing_starts, self.probes.declining)
        self.real = DrivenSystem(spec, randomness=FullWait())
        came_up = self.model.start(self.model.root)
        try:
            self.real.start()
        except StartFailed:
            assert not came_up
            self.model.gave_up = True
        else:
            assert came_up

    def _pass(self, seconds: float) -> None:
        self.model.passes(seconds)
        kernel, clock = self.real._kernel, self.real.fake
        until = clock.monotonic() + seconds
        while self.real.ended is None and (due := kernel._timers.next_due()) is not None and due <= until:
            clock.advance(due - clock.monotonic())
            self.real.settle()
        clock.advance(until - clock.monotonic())
        self.real.settle()

    def _pick(self, data: st.DataObject, *kinds: bool) -> Member | None:
        """A child of a running supervisor; `kinds`: only workers that are up."""
        self._pass(MOMENT)
        found = [m for m in self.model.everyone() if m.parent is not None and m.parent.state == "up"]
        if kinds:
            found = [m for m in found if m.name in WORKERS + "xy" and m.state == "up"]
        return data.draw(st.sampled_from(found)) if found and not self.over else None

    @property
    def over(self) -> bool:
        """Whether the whole tree has ended."""
        return self.model.gave_up

    @precondition(lambda self: not self.over)
    @rule(data=st.data(), how=st.sampled_from(["crash", "exit", "end", "crash"]))
    def a_worker_ends(self, data: st.DataObject, how: str) -> None:
        """By itself, well or not."""
        if member := self._pick(data, True):
            self.real.tell(member.name, Shutdown() if how == "exit" else how)
            self.real.settle()
            self.model.exits(member, abnormal=how == "crash")

    @precondition(lambda self: not self.over)
    @rule(name=st.sampled_from(WORKERS), times=st.integers(1, 3))
    def starts_will_fail(self, name: str, times: int) -> None:
        """The next ones of that worker."""
        self.probes.failing_starts[name] = self.model.failing[name] = times

    @precondition(lambda self: not self.over)
    @rule(seconds=st.integers(1, 9))
    def time_passes(self, seconds: int) -> None:
        """Restarts become due, crashes are forgotten, uptime becomes stable."""
        self._pass(float(seconds))

    @precondition(lambda self: not self.over)
    @rule(data=st.data(), command=st.sampled_from(["terminate_child", "restart_child", "delete_child"]))
    def a_command(self, data: st.DataObject, command: str) -> None:
        """Of an operator."""
        if member := self._pick(data):
            expected = None
            if command == "terminate_child":
                self.model.terminate(member)
            else:
                expected = getattr(self.model, command)(member)
            self._real(command, expected, member.name)

    @precondition(lambda self: not self.over)
    @rule(data=st.data(), name=st.sampled_from("xy"), restart=st.sampled_from(list(Restart)))
    def a_dynamic_child(self, data: st.DataObject, name: str, restart: Restart) -> None:
        """Of some supervisor that runs."""
        self._pass(MOMENT)
        everyone = self.model.everyone()
        running = [m for m in everyone if isinstance(m.spec, SupervisorSpec) and m.state == "up"]
        if running and not self.over and name not in {m.name for m in everyone}:
            parent = data.draw(st.sampled_from(running))
            spec = self.probes.child(name, restart=restart, hang_seconds=None)
            self._real("start_child", self.model.start_child(parent, spec), parent.name, spec)

    @precondition(lambda self: self.over)
    @rule(name=st.sampled_from(WORKERS), seconds=st.integers(1, 9))
    def after_the_end(self, name: str, seconds: int) -> None:
        """Nothing happens any more, and nobody takes a message."""
        self.real.advance(float(seconds))
        assert isinstance(raised(lambda: self.real.tell(name, "anyone?")), NotRunning | UnknownName)

    def _real(self, command: str, expected: str | None, *arguments: Any) -> None:
        refusal = None
        try:
            getattr(self.real, command)(*arguments)
        except SupervisionError as error:
            refusal = type(error).__name__
        assert refusal == expected, f"{command}{arguments}"

    @invariant()
    def both_agree(self) -> None:
        """States, and the order of all starts and stops with their epochs."""
        if hasattr(self, "real"):
            assert self.probes.diary == self.model.diary
            assert (self.real.ended is not None) == self.over
            if not self.over:
                assert states(self.real) == self.model.states()
            for incarnation in self.real.threads.incarnations:
                assert not incarnation.fenced

    def teardown(self) -> None:
        """The end stops what runs, in reverse order."""
        if hasattr(self, "real") and not self.over:
            self.real.stop()
            self.model.stop(self.model.root)
            assert self.probes.diary == self.model.diary
            assert self.real.threads.incarnations == []


TestAgreement = pytest.mark.timeout(900)(Agreement.TestCase)
TestAgreement.settings = settings(
    max_examples=SEQUENCES,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
