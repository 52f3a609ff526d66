"""The clock actor whose scheduler's thread has ended: it notices, and its successor has a thread that works."""

from typing import Any

import pytest

from actors import clock
from actors.clock import Clock, _Pulse
from actors.messages import CLOCK
from supervision import ChildSpec, SupervisorSpec, System
from testkit.waiting import wait_until
from tests.support.actor_context import make_context


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_clock_that_gets_no_pulse_any_more_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "PULSE_SECONDS", 0.02)
    monkeypatch.setattr(clock, "WATCH_SECONDS", 0.4)
    clocks: list[Clock] = []
    pulses: list[int] = []

    class Counted(Clock):
        def on_start(self) -> None:
            super().on_start()
            clocks.append(self)

        def on_receive(self, message: object) -> None:
            super().on_receive(message)
            if isinstance(message, _Pulse):
                pulses.append(self.epoch)

    def end(*_: Any) -> float:
        raise MemoryError("nothing is left for the scheduler's thread")

    context = make_context("postgresql://nobody@nowhere/none")
    system = System(SupervisorSpec("root", children=(ChildSpec(CLOCK, lambda: Counted(context)),)))
    system.start()
    try:
        wait_until(lambda: len(pulses) > 80)
        assert set(pulses) == {1}, "one that gets its pulses is left alone"
        monkeypatch.setattr(clocks[0]._scheduler, "_process_jobs", end)
        wait_until(lambda: 2 in pulses, within_seconds=5)
    finally:
        system.stop(5)
