"""Cases 17 to 28 of OTP's supervisor suite: strategies, restart limits, restart loops, order of shutdown."""

from __future__ import annotations

import math

import pytest

from supervision import (
    EndKind,
    Exited,
    FailedToStart,
    GaveUp,
    GivenUp,
    Restart,
    Restarting,
    Strategy,
)
from tests.supervision.supervision_kit import (
    Probes,
    epochs,
    kill,
    last_exit,
    of,
    root,
    row,
    started,
    states,
    sub,
)


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
def test_case_17_a_temporary_bystander_of_a_group_restart_is_gone_for_good(strategy: Strategy) -> None:
    probes = Probes()
    bystander = probes.child("t", restart=Restart.TEMPORARY)
    system = started(root(probes.child("a"), bystander, probes.child("b"), strategy=strategy, max_restarts=1))
    kill(system, "a")
    system.advance(0.25)
    assert states(system) == {"root": "up", "a": "up", "b": "up"}
    assert probes.notes("start").count("t") == 1
    assert of(system, GivenUp) == []


def test_case_18_one_for_one_restarts_only_the_one() -> None:
    probes = Probes()
    system = started(root(*probes.children("abc")))
    kill(system, "b")
    system.advance(0.25)
    assert epochs(system, "a", "b", "c") == [1, 2, 1]


def test_case_19_one_for_all_stops_all_before_anything_restarts() -> None:
    probes = Probes()
    system = started(root(*probes.children("abc"), strategy=Strategy.ONE_FOR_ALL))
    probes.clear()
    kill(system, "b")
    system.advance(0.25)
    assert probes.diary == [
        ("stop", "b", 1),
        ("stop", "c", 1),
        ("stop", "a", 1),
        ("start", "a", 2),
        ("start", "b", 2),
        ("start", "c", 2),
    ]
    assert len(system.threads.incarnations) == 3, "no old incarnation is alive"


def test_case_20_rest_for_one_restarts_those_started_after_it() -> None:
    probes = Probes()
    system = started(root(*probes.children("abcd"), strategy=Strategy.REST_FOR_ONE))
    probes.clear()
    kill(system, "b")
    system.advance(0.25)
    stops = [name for what, name, _ in probes.diary if what == "stop"]
    assert stops == ["b", "d", "c"], "b has died, then the rest is stopped in reverse order"
    assert probes.notes("start") == ["b", "c", "d"]
    assert epochs(system, "a", "b", "c", "d") == [1, 2, 2, 2]


@pytest.mark.parametrize("strategy", list(Strategy))
def test_case_21_one_crash_too_many_within_the_period_ends_the_supervisor(strategy: Strategy) -> None:
    probes = Probes()
    system = started(root(*probes.children("ab"), strategy=strategy, max_restarts=2, window_seconds=60))
    for _ in range(2):
        kill(system, "a")
        system.advance(0.25)
        assert states(system)["a"] == "up"
    probes.clear()
    kill(system, "a")
    system.advance(0.25)
    assert system.ended is not None
    assert system.ended.kind is EndKind.GAVE_UP
    assert isinstance(system.ended.reason, GaveUp)
    assert probes.notes("stop") == ["a", "b"]
    assert [event.name for event in of(system, GivenUp)] == ["root"]
    assert system.threads.incarnations == []


def test_case_21_a_limit_of_0_allows_no_restart_at_all() -> None:
    probes = Probes()
    system = started(root(probes.child("a"), max_restarts=0))
    kill(system, "a")
    assert system.ended is not None
    assert probes.notes("start") == ["a"]


def test_case_22_crashes_further_apart_than_the_period_never_add_up() -> None:
    probes = Probes()
    system = started(root(probes.child("a"), max_restarts=1, window_seconds=1))
    for number in range(20):
        kill(system, "a")
        system.advance(2.1)
        system.fake.step_wall(3600 if number % 2 else -3600)
    assert epochs(system, "a") == [21]
    assert of(system, GivenUp) == []


def test_case_23_every_failed_restart_counts() -> None:
    probes = Probes()
    system = started(root(*probes.children("ab"), max_restarts=5, window_seconds=60))
    probes.failing_starts["a"] = math.inf
    kill(system, "a")
    system.advance(5.0)
    assert system.ended is not None
    assert probes.notes("start").count("a") == 1 + 5
    assert probes.notes("stop") == ["a", "b"]
    assert isinstance(last_exit(system, "a").reason, FailedToStart)


def test_case_24_one_for_all_begins_again_when_a_sibling_fails_to_start() -> None:
    probes = Probes()
    system = started(root(*probes.children("ab"), strategy=Strategy.ONE_FOR_ALL))
    probes.clear()
    probes.failing_starts["b"] = 1
    kill(system, "a")
    system.advance(1.0)
    assert probes.diary == [
        ("stop", "a", 1),
        ("stop", "b", 1),
        ("start", "a", 2),
        ("start", "b", 2),
        ("stop", "a", 2),
        ("start", "a", 3),
        ("start", "b", 3),
    ]


def test_case_25_rest_for_one_goes_on_from_the_sibling_that_failed_to_start() -> None:
    probes = Probes()
    system = started(root(*probes.children("abc"), strategy=Strategy.REST_FOR_ONE))
    probes.clear()
    probes.failing_starts["b"] = 1
    kill(system, "a")
    system.advance(1.0)
    assert probes.notes("start") == ["a", "b", "b", "c"]
    assert epochs(system, "a", "b", "c") == [2, 3, 2]


def test_case_26_a_restart_loop_shows_itself_and_is_ended_by_terminate_child() -> None:
    probes = Probes()
    spec = root(*probes.children("ab"), backoff_base_seconds=50.0, backoff_max_seconds=50.0, max_restarts=9)
    system = started(spec)
    probes.failing_starts["a"] = math.inf
    kill(system, "a")
    assert (states(system)["a"], system.count_children("root").active) == ("restarting", 1)
    before = system.fake.monotonic()
    system.terminate_child("a")
    assert system.fake.monotonic() - before < 1.0
    system.advance(200.0)
    assert states(system) == {"root": "up", "a": "down", "b": "up"}
    assert probes.notes("start").count("a") == 1


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
def test_case_27_a_supervisor_in_a_restart_loop_stops_promptly(strategy: Strategy) -> None:
    probes = Probes()
    spec = root(*probes.children("abc"), strategy=strategy, backoff_base_seconds=50.0, backoff_max_seconds=50.0)
    system = started(spec)
    kill(system, "b")
    expected = {
        Strategy.ONE_FOR_ONE: ["up", "restarting", "up"],
        Strategy.ONE_FOR_ALL: ["down", "restarting", "down"],
        Strategy.REST_FOR_ONE: ["up", "restarting", "down"],
    }
    assert [states(system)[name] for name in "abc"] == expected[strategy]
    before = system.fake.monotonic()
    system.stop()
    assert system.fake.monotonic() - before < 1.0
    assert probes.notes("start").count("b") == 1


def test_case_27_an_earlier_siblings_crash_widens_a_waiting_group_restart() -> None:
    probes = Probes()
    spec = root(
        *probes.children("abc"),
        strategy=Strategy.REST_FOR_ONE,
        backoff_base_seconds=50.0,
        backoff_max_seconds=50.0,
    )
    system = started(spec)
    kill(system, "b")
    kill(system, "a")
    assert [states(system)[name] for name in "abc"] == ["restarting", "restarting", "down"]
    probes.clear()
    system.advance(51.0)
    assert probes.diary == [("start", "a", 2), ("start", "b", 2), ("start", "c", 2)]


def test_case_28_shutdown_stops_in_reverse_order_each_ended_before_the_next() -> None:
    probes = Probes()
    system = started(root(*probes.children("abcde")))
    system.threads.stuck.add("d")
    system._kernel.post(system._stop_root)
    system.settle()
    assert probes.notes("stop") == ["e"], "c is not told to stop before d has ended"
    assert states(system)["c"] == "up"
    system.threads.stuck.clear()
    system.settle()
    assert probes.notes("stop") == ["e", "d", "c", "b", "a"]
    assert [event.name for event in of(system, Exited)] == ["e", "d", "c", "b", "a", "root"]


def test_case_28_shutdown_keeps_the_order_of_the_specification_after_restarts() -> None:
    probes = Probes()
    system = started(root(*probes.children("abc"), sub("inner", *probes.children("xy"))))
    kill(system, "a")
    kill(system, "x")
    system.advance(1.0)
    assert row(system, "a")["restarts"] == 1
    probes.clear()
    system.stop()
    assert probes.notes("stop") == ["y", "x", "c", "b", "a"]


def test_backoff_waits_grow_with_full_jitter_and_are_reset_by_stable_uptime() -> None:
    probes = Probes()
    spec = root(
        probes.child("a"),
        backoff_base_seconds=1.0,
        backoff_max_seconds=8.0,
        stable_seconds=100.0,
        max_restarts=1000,
    )
    system = started(spec)
    for _ in range(8):
        kill(system, "a")
        system.advance(8.0)
    delays = [event.delay_seconds for event in of(system, Restarting)]
    caps = [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0]
    assert all(0.0 <= delay <= cap for delay, cap in zip(delays, caps, strict=True))
    assert len(set(delays)) == 8, "jitter makes no two alike"
    system.advance(101.0)
    kill(system, "a")
    assert of(system, Restarting)[-1].delay_seconds <= 1.0
