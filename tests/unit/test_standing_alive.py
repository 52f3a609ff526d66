"""What /healthz and the watchdog go by: a kernel that is stuck is not alive, one that is at rest is."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from daemon.status import StatusCollector
from supervision import Actor, ChildSpec, Event, SupervisorSpec, System, SystemClock

PATIENCE_SECONDS = 10.0


class Idle(Actor):
    """Does nothing."""

    def on_receive(self, message: Any) -> None:
        if message == "crash":
            raise RuntimeError("as told")


def eventually(true: Callable[[], bool]) -> bool:
    until = SystemClock().monotonic() + PATIENCE_SECONDS
    while not true() and SystemClock().monotonic() < until:
        threading.Event().wait(0.01)
    return true()


def test_a_stuck_root_is_not_alive_and_one_that_goes_on_again_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.status.PROGRESS_SECONDS", 1.0)
    stuck, let_go = threading.Event(), threading.Event()

    def listen(_: Event) -> None:
        if stuck.is_set():
            let_go.wait(PATIENCE_SECONDS)

    root = SupervisorSpec("root", children=(ChildSpec("idle", Idle),))
    system = System(root, on_event=listen)
    standings = StatusCollector(cast("Any", SimpleNamespace(clock=SystemClock())), system, cast("Any", None), list)
    system.start()
    try:
        assert eventually(standings.alive)
        stuck.set()
        system.tell("idle", "crash")
        assert eventually(lambda: not standings.alive())
        assert standings.running()
        let_go.set()
        assert eventually(standings.alive)
    finally:
        let_go.set()
        system.stop()
    assert not standings.alive()
