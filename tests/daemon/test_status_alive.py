"""What /healthz and the watchdog go by: a kernel that is stuck is not alive, one that is at rest is."""

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from alarming.actor import AlarmSnapshot
from daemon.status import StatusCollector
from supervision import Actor, ChildSpec, Event, SupervisorSpec, System, SystemClock
from testkit.waiting import WAIT_SECONDS, wait_until


class Idle(Actor):
    """Does nothing."""

    def on_receive(self, message: Any) -> None:
        if message == "crash":
            raise RuntimeError("as told")


def test_a_stuck_root_is_not_alive_and_one_that_goes_on_again_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.status.PROGRESS_SECONDS", 1.0)
    stuck, let_go = threading.Event(), threading.Event()

    def listen(_: Event) -> None:
        if stuck.is_set():
            let_go.wait(WAIT_SECONDS)

    root = SupervisorSpec("root", children=(ChildSpec("idle", Idle),))
    system = System(root, on_event=listen)
    standings = StatusCollector(
        cast("Any", SimpleNamespace(clock=SystemClock())), system, cast("Any", None), AlarmSnapshot()
    )
    system.start()
    try:
        wait_until(standings.alive)
        stuck.set()
        system.tell("idle", "crash")
        wait_until(lambda: not standings.alive())
        assert standings.running()
        let_go.set()
        wait_until(standings.alive)
    finally:
        let_go.set()
        system.stop()
    assert not standings.alive()
