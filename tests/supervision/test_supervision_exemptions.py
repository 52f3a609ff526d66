"""Restarts that do not count against max_restarts: which exits are exempt, and what still bounds them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from supervision import ChildSpec, EndKind, Exited, GivenUp, Hung, Restarting, SpecError, Strategy, WrittenOff
from tests.supervision.supervision_kit import Probes, epochs, kill, of, root, row, started, states, sub
from tests.support.supervision import DrivenSystem, Stuck


def always(_: Exited) -> bool:
    """Exempts every exit that it is asked about."""
    return True


def bisecting(notice: Exited) -> bool:
    """Exempts the exits of a worker that isolates a bad item."""
    return notice.in_hand == ("crash",)


def crash(system: DrivenSystem, name: str, times: int, how: Any = "crash") -> None:
    """Lets the child crash so often, each time after its restart."""
    for _ in range(times):
        kill(system, name, how)
        system.advance(0.25)


def test_twelve_exempt_crashes_use_up_no_restart_that_other_faults_need() -> None:
    probes = Probes()
    system = started(root(probes.child("a", exempt_from_max_restarts=bisecting), probes.child("b"), max_restarts=2))
    crash(system, "a", 12)
    crash(system, "b", 2)
    assert states(system) == {"root": "up", "a": "up", "b": "up"}
    assert [event.exempt for event in of(system, Restarting)] == 12 * [True] + 2 * [False]
    assert row(system, "a")["restarts"] == 12
    crash(system, "b", 1)
    assert system.ended is not None
    assert "more than 2 restarts in 60 s, the last of b" in str(system.ended.reason)


def test_a_crash_that_is_not_exempt_counts_as_ever() -> None:
    probes = Probes()
    system = started(root(probes.child("a", exempt_from_max_restarts=bisecting), max_restarts=2))
    crash(system, "a", 3, how=("call", lambda _: 1 / 0))
    assert system.ended is not None
    assert system.ended.kind is EndKind.GAVE_UP


def test_an_exempt_restart_does_not_count_against_the_childs_own_limit() -> None:
    probes = Probes()
    system = started(root(probes.child("a", exempt_from_max_restarts=always, max_restarts=1)))
    crash(system, "a", 5)
    assert epochs(system, "a") == [6]


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
def test_the_restart_of_a_whole_group_is_exempt_with_its_cause(strategy: Strategy) -> None:
    probes = Probes()
    child = probes.child("a", exempt_from_max_restarts=always)
    system = started(root(child, probes.child("b"), strategy=strategy, max_restarts=1))
    crash(system, "a", 5)
    assert epochs(system, "a", "b") == [6, 6]


def test_exempt_restarts_beyond_their_bound_count_until_the_window_has_passed() -> None:
    probes = Probes()
    child = probes.child("a", exempt_from_max_restarts=always, max_exempt_restarts=3, window_seconds=30.0)
    system = started(root(child, max_restarts=2, window_seconds=30.0))
    crash(system, "a", 5)
    assert [event.exempt for event in of(system, Restarting)] == [True, True, True, False, False]
    system.advance(31.0)
    crash(system, "a", 3)
    assert [event.exempt for event in of(system, Restarting)][5:] == [True, True, True]
    crash(system, "a", 3)
    assert system.ended is not None
    assert [event.name for event in of(system, GivenUp)] == ["root"]


def test_no_exemption_at_all_is_a_bound_of_0() -> None:
    probes = Probes()
    system = started(root(probes.child("a", exempt_from_max_restarts=always, max_exempt_restarts=0), max_restarts=1))
    crash(system, "a", 2)
    assert system.ended is not None


def test_a_child_that_is_always_exempt_backs_off_to_the_longest_wait_and_keeps_its_neighbours() -> None:
    probes = Probes()
    children = (probes.child("a", exempt_from_max_restarts=always), probes.child("b"))
    system = started(root(*children, backoff_base_seconds=0.1, backoff_max_seconds=10.0, max_restarts=3))
    for _ in range(4000):
        if states(system)["a"] == "up":
            kill(system, "a")
        system.advance(1.0, step_seconds=1.0)
    assert states(system)["b"] == "up"
    assert epochs(system, "b") == [1]
    waits = [event.delay_seconds for event in of(system, Restarting)]
    assert 400 < len(waits) < 1600, "as often as the longest wait allows, not more"
    assert max(waits[:3]) < 0.5
    assert max(waits) > 9.0


def test_a_child_that_cannot_start_is_never_exempt() -> None:
    probes = Probes()
    system = started(root(probes.child("a", exempt_from_max_restarts=always), max_restarts=5))
    probes.failing_starts["a"] = math.inf
    kill(system, "a")
    system.advance(5.0)
    assert system.ended is not None
    assert probes.notes("start").count("a") == 1 + 1 + 5, "the crash was exempt, the five failed starts were not"


def test_a_normal_end_is_never_exempt() -> None:
    probes = Probes()
    system = started(root(probes.child("a", exempt_from_max_restarts=always), max_restarts=1))
    crash(system, "a", 2, how="end")
    assert system.ended is not None


def test_an_exempt_hang_uses_up_no_restart_but_its_thread_counts() -> None:
    probes = Probes()
    asked: list[Exited] = []

    def exempt(notice: Exited) -> bool:
        asked.append(notice)
        return True

    child = probes.child("a", hang_seconds=1.0, exempt_from_max_restarts=exempt)
    system = started(root(child, max_restarts=0), written_off_limit=2)
    for expected in (1, 2):
        system.tell("a", Stuck())
        system.advance(3.0)
        assert len(of(system, WrittenOff)) == expected
    assert epochs(system, "a") == [3]
    assert [(type(notice.reason), notice.epoch) for notice in asked] == [(Hung, 1), (Hung, 2)]
    system.tell("a", Stuck())
    system.advance(3.0)
    assert system.ended is not None
    assert "3 threads that had to be written off" in str(system.ended.reason)


def test_a_failing_exemption_counts_the_restart_and_harms_nobody() -> None:
    probes = Probes()
    system = started(root(probes.child("a", exempt_from_max_restarts=lambda _: bool(1 / 0)), max_restarts=1))
    crash(system, "a", 1)
    assert (epochs(system, "a"), system.listener_failures) == ([2], 1)
    crash(system, "a", 1)
    assert system.ended is not None


def test_a_rebuilt_supervisor_exempts_afresh() -> None:
    probes = Probes()
    child = probes.child("a", exempt_from_max_restarts=always, max_exempt_restarts=1)
    system = started(root(sub("inner", child, max_restarts=0)))
    crash(system, "a", 2)
    assert [event.name for event in of(system, GivenUp)] == ["inner"]
    crash(system, "a", 1)
    assert len(of(system, GivenUp)) == 1
    assert states(system)["a"] == "up"


@pytest.mark.parametrize(("field", "value"), [("exempt_from_max_restarts", "yes"), ("max_exempt_restarts", -1)])
def test_an_invalid_exemption_is_refused_with_the_field_named(field: str, value: Any) -> None:
    options: dict[str, Any] = {field: value}
    with pytest.raises(SpecError, match=field):
        ChildSpec("a", lambda: None, **options)  # type: ignore[arg-type,return-value]
