"""Cases 1 to 16 of OTP's supervisor suite: specifications, starting, dynamic children, restart types."""

from __future__ import annotations

import math
from typing import Any

import pytest

from supervision import (
    AlreadyPresent,
    AlreadyStarted,
    AutoShutdown,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    Crashed,
    EndKind,
    Exited,
    FailedToStart,
    Normal,
    Restart,
    Restarting,
    Shutdown,
    SpecError,
    StartFailed,
    StartOverdue,
    Strategy,
    SupervisorSpec,
    UnknownName,
)
from tests.supervision.supervision_kit import (
    BoomError,
    Probes,
    epochs,
    kill,
    last_exit,
    of,
    raised,
    root,
    row,
    started,
    states,
    sub,
)
from tests.support.supervision import DrivenSystem, InlineThreads


def test_case_01_a_supervisor_without_children_is_up_and_ends_with_shutdown() -> None:
    system = started(root())
    assert states(system) == {"root": "up"}
    ended = system.stop()
    assert (ended.kind, ended.reason) == (EndKind.STOPPED, Shutdown())
    assert system.stop() == ended, "stopping again is harmless"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strategy", "some_for_some"),
        ("max_restarts", -1),
        ("max_restarts", 1.5),
        ("max_restarts", math.inf),
        ("window_seconds", -1),
        ("window_seconds", math.inf),
        ("window_seconds", math.nan),
        ("backoff_base_seconds", -0.1),
        ("backoff_max_seconds", "1"),
        ("stable_seconds", -1),
        ("auto_shutdown", "sometimes"),
        ("restart", "often"),
        ("max_children", -1),
    ],
)
def test_case_02_an_invalid_supervisor_is_refused_with_the_field_named(field: str, value: Any) -> None:
    options: dict[str, Any] = {field: value}
    with pytest.raises(SpecError, match=field):
        SupervisorSpec("root", **options)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", None),
        ("factory", None),
        ("restart", "often"),
        ("shutdown_seconds", -1),
        ("shutdown_seconds", math.inf),
        ("start_seconds", math.nan),
        ("hang_seconds", -1),
        ("mailbox_limit", 0),
        ("while_down", "lose"),
        ("max_restarts", -1),
        ("significant", True),
    ],
)
def test_case_03_an_invalid_child_is_refused_with_the_field_named(field: str, value: Any) -> None:
    options: dict[str, Any] = {"name": "a", "factory": lambda: None} | {field: value}
    with pytest.raises(SpecError, match=field):
        ChildSpec(**options)


def test_case_03_a_name_that_stands_twice_in_the_tree_is_refused() -> None:
    probes = Probes()
    with pytest.raises(SpecError, match="a stands twice"):
        root(probes.child("a"), sub("inner", probes.child("a")))
    with pytest.raises(SpecError, match="significant"):
        root(probes.child("a", restart=Restart.TRANSIENT, significant=True))
    assert probes.diary == []


def test_case_04_defaults_of_a_minimal_specification() -> None:
    spec = Probes().child("a")
    assert (spec.restart, spec.shutdown_seconds, spec.significant) == (Restart.PERMANENT, 5.0, False)
    supervisor = SupervisorSpec("s")
    assert supervisor.strategy is Strategy.ONE_FOR_ONE
    assert supervisor.auto_shutdown is AutoShutdown.NEVER
    assert not hasattr(supervisor, "shutdown_seconds"), "a supervisor's stop is bounded by its children's"


def test_case_05_children_start_in_order_each_when_the_one_before_is_up() -> None:
    probes, threads = Probes(), InlineThreads()
    system = DrivenSystem(root(*probes.children("abc")), threads)
    threads.stuck.add("a")
    system._kernel.post(system._root.start)
    system.settle()
    assert states(system) == {"root": "starting", "a": "starting", "b": "down", "c": "down"}
    assert [incarnation.name for incarnation in threads.incarnations] == ["a"], "b has no thread before a is ready"
    threads.stuck.clear()
    system.settle()
    assert probes.notes("start") == ["a", "b", "c"]
    assert set(states(system).values()) == {"up"}


def test_case_06_a_failing_start_undoes_what_had_started_and_tells_the_cause() -> None:
    probes, threads = Probes(), InlineThreads()
    probes.failing_starts["b"] = 1
    system = DrivenSystem(root(*probes.children("abc")), threads)
    with pytest.raises(StartFailed, match="b can't start") as failure:
        system.start()
    assert isinstance(failure.value.__cause__, BoomError)
    assert probes.diary == [("start", "a", 1), ("start", "b", 1), ("stop", "a", 1)]
    assert threads.incarnations == []
    assert system.ended is not None
    assert system.ended.kind is EndKind.GAVE_UP


def test_case_07_a_start_that_never_ends_fails_at_its_deadline_and_is_fenced() -> None:
    probes, threads = Probes(), InlineThreads()
    threads.stuck.add("b")
    system = DrivenSystem(root(probes.child("a"), probes.child("b", start_seconds=10.0)), threads)
    with pytest.raises(StartFailed, match="StartOverdue"):
        system.start()
    assert isinstance(last_exit(system, "b").reason, StartOverdue)
    assert probes.notes("stop") == ["a"]
    (stuck,) = threads.incarnations
    assert stuck.name == "b"
    assert stuck.fenced


def test_case_08_a_child_that_declines_stays_listed_and_its_siblings_start() -> None:
    probes = Probes()
    probes.declining = {"a", "t"}
    system = started(root(probes.child("a"), probes.child("t", restart=Restart.TEMPORARY), probes.child("b")))
    assert states(system) == {"root": "up", "a": "declined", "b": "up"}
    assert probes.notes("stop") == []


def test_case_09_a_dynamic_start_that_fails_keeps_no_specification() -> None:
    probes = Probes()
    probes.failing_starts["x"] = 1
    system = started(root(probes.child("a")))
    with pytest.raises(StartFailed, match="x can't start"):
        system.start_child("root", probes.child("x"))
    junk: Any = "not an actor"
    with pytest.raises(StartFailed, match="must make a new Actor"):
        system.start_child("root", ChildSpec("y", lambda: junk))
    with pytest.raises(SpecError, match="no specification"):
        system.start_child("root", junk)
    assert states(system) == {"root": "up", "a": "up"}
    assert isinstance(raised(lambda: system.tell("x", "hello")), UnknownName)


def test_case_10_start_child_of_a_known_name() -> None:
    probes = Probes()
    system = started(root(probes.child("a"), max_children=2))
    assert system.start_child("root", probes.child("b")) == 1
    with pytest.raises(AlreadyStarted):
        system.start_child("root", probes.child("b"))
    system.terminate_child("b")
    with pytest.raises(AlreadyPresent):
        system.start_child("root", probes.child("b"))
    with pytest.raises(StartFailed, match="has its 2 children"):
        system.start_child("root", probes.child("c"))
    with pytest.raises(SpecError, match="taken"):
        system.start_child("root", sub("inner", probes.child("a")))


def test_case_11_restart_child_in_every_state() -> None:
    probes = Probes()
    system = started(root(*probes.children("ab"), backoff_base_seconds=100.0, backoff_max_seconds=100.0))
    with pytest.raises(ChildRunning):
        system.restart_child("a")
    with pytest.raises(UnknownName):
        system.restart_child("nobody")
    kill(system, "b")
    with pytest.raises(ChildRestarting):
        system.restart_child("b")
    system.terminate_child("a")
    assert system.restart_child("a") == 2
    assert epochs(system, "a") == [2]


def test_case_12_delete_child_and_terminate_child_in_every_state() -> None:
    probes = Probes()
    system = started(root(*probes.children("ab"), backoff_base_seconds=100.0, backoff_max_seconds=100.0))
    with pytest.raises(ChildRunning):
        system.delete_child("a")
    kill(system, "b")
    with pytest.raises(ChildRestarting):
        system.delete_child("b")
    system.terminate_child("a")
    system.terminate_child("a")
    system.delete_child("a")
    assert "a" not in states(system)
    with pytest.raises(UnknownName):
        system.terminate_child("a")
    with pytest.raises(UnknownName):
        system.delete_child("a")


@pytest.mark.parametrize("how", ["end", Shutdown(), Shutdown("enough")])
def test_case_13_a_permanent_child_that_ends_normally_is_restarted_and_reported(how: Any) -> None:
    probes = Probes()
    system = started(root(probes.child("a")))
    kill(system, "a", how)
    system.advance(0.25)
    assert epochs(system, "a") == [2]
    assert last_exit(system, "a").reason == (Normal() if how == "end" else how)
    assert [event.name for event in of(system, Restarting)] == ["a"]


@pytest.mark.parametrize("how", ["end", Shutdown(), Shutdown("enough")])
def test_case_14_a_transient_child_that_ends_normally_stays_down_and_listed(how: Any) -> None:
    probes = Probes()
    system = started(root(probes.child("a", restart=Restart.TRANSIENT), probes.child("b")))
    kill(system, "a", how)
    system.advance(1.0)
    assert states(system) == {"root": "up", "a": "down", "b": "up"}
    assert (system.count_children("root").specs, system.count_children("root").active) == (2, 1)


@pytest.mark.parametrize("how", ["crash", "exit"])
def test_case_15_a_transient_child_that_crashes_is_restarted(how: str) -> None:
    probes = Probes()
    system = started(root(probes.child("a", restart=Restart.TRANSIENT)))
    kill(system, "a", how)
    system.advance(0.25)
    assert epochs(system, "a") == [2]
    reason = last_exit(system, "a").reason
    assert isinstance(reason, Crashed)
    assert isinstance(reason.exception, BoomError if how == "crash" else SystemExit)


@pytest.mark.parametrize("how", ["crash", "exit", "end", Shutdown()])
def test_case_16_a_temporary_child_that_ends_is_gone_from_the_list(how: Any) -> None:
    probes = Probes()
    system = started(root(probes.child("a", restart=Restart.TEMPORARY), probes.child("b")))
    kill(system, "a", how)
    system.advance(1.0)
    assert states(system) == {"root": "up", "b": "up"}
    assert len(of(system, Exited, "a")) == 1
    assert row(system, "root")["restarts"] == 0


def test_case_16_a_temporary_child_whose_start_fails_dynamically_leaves_nothing() -> None:
    probes = Probes()
    probes.failing_starts["a"] = 1
    system = started(root())
    with pytest.raises(StartFailed):
        system.start_child("root", probes.child("a", restart=Restart.TEMPORARY))
    assert isinstance(last_exit(system, "a").reason, FailedToStart)
    assert states(system) == {"root": "up"}
