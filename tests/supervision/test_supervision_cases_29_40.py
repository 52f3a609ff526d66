"""Cases 29 to 40 of OTP's supervisor suite: children that won't stop, late notices, nesting, reports."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from supervision import (
    Abandoned,
    AutoShutdown,
    Crashed,
    EndKind,
    Event,
    Exited,
    Fenced,
    GaveUp,
    GivenUp,
    KernelFault,
    Restart,
    Restarting,
    Shutdown,
    Started,
    StopFailed,
    Strategy,
    Undelivered,
    UnknownName,
    WrittenOff,
    WrittenOffEnded,
    fan_out,
    log_events,
    pool,
)
from tests.supervision.supervision_kit import (
    BoomError,
    Probe,
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
from tests.support.supervision import DrivenSystem


def test_case_29_a_child_that_will_not_stop_is_freed_then_abandoned_within_its_budget() -> None:
    probes = Probes()
    system = started(root(probes.child("a"), probes.child("b", shutdown_seconds=4.0), probes.child("c")))
    freed: list[float] = []
    actor: list[Probe] = []

    def register(probe: Probe) -> None:
        actor.append(probe)
        probe.on_unblock(lambda: freed.append(system.fake.monotonic()))

    system.ask("b", ("call", register), 1.0)
    system.threads.stuck.add("b")
    before = system.fake.monotonic()
    system.stop()
    assert freed[0] - before == pytest.approx(2.0, abs=0.5), "freed at half of its budget"
    assert system.fake.monotonic() - before <= 5.0
    assert probes.notes("stop") == ["c", "a"]
    reason = last_exit(system, "b").reason
    assert isinstance(reason, Abandoned)
    assert [event.alive for event in of(system, WrittenOff)] == [1]
    with pytest.raises(Fenced):
        actor[0].tell("a", "from the dead")


def test_case_30_no_grace_means_fenced_at_once_and_not_waited_for() -> None:
    probes = Probes()
    system = started(root(probes.child("a"), probes.child("b", shutdown_seconds=0)))
    system.threads.stuck.add("b")
    before = system.fake.monotonic()
    system.stop()
    assert system.fake.monotonic() == before
    assert isinstance(last_exit(system, "b").reason, Abandoned)


def test_case_31_the_global_deadline_abandons_whoever_is_left() -> None:
    probes = Probes()
    system = started(root(*probes.children("abc", shutdown_seconds=1000.0)))
    system.threads.stuck.update("bc")
    before = system.fake.monotonic()
    ended = system.stop(timeout_seconds=10.0)
    assert system.fake.monotonic() - before == pytest.approx(10.0, abs=1.0)
    assert ended.kind is EndKind.STOPPED
    assert [event.name for event in of(system, WrittenOff)] == ["c", "b"]
    assert probes.notes("stop") == ["a"]


def test_case_32_children_that_die_while_their_supervisor_stops_are_reported_and_not_restarted() -> None:
    probes = Probes()
    probes.raising_in_stop["a"] = SystemExit(3)
    system = started(root(*probes.children("abc")))
    system.threads.stuck.add("c")
    system._kernel.post(system._stop_root)
    system.settle()
    system.tell("b", "crash")
    system.settle()
    system.threads.stuck.clear()
    system.settle()
    assert system.ended is not None
    assert system.ended.reason == Shutdown()
    assert isinstance(last_exit(system, "b").reason, Crashed)
    assert isinstance(last_exit(system, "a").reason, StopFailed)
    assert probes.notes("start") == ["a", "b", "c"]


def test_case_33_a_pool_stops_at_the_same_time_and_as_long_as_the_slowest() -> None:
    probes = Probes()
    workers = pool(sub("pool"), 4, lambda n: probes.child(f"w{n}", shutdown_seconds=4.0))
    system = started(root(workers))
    system.threads.stuck.update({"w1", "w3"})
    before = system.fake.monotonic()
    system.stop()
    assert system.fake.monotonic() - before == pytest.approx(4.0, abs=0.5)
    assert {event.name for event in of(system, WrittenOff)} == {"w1", "w3"}
    assert sorted(probes.notes("stop")) == ["w2", "w4"]


@pytest.mark.parametrize("where", ["exit", "stop"])
def test_case_34_a_child_that_raises_system_exit_anywhere_still_gives_its_notice(where: str) -> None:
    probes = Probes()
    if where == "stop":
        probes.raising_in_stop["a"] = SystemExit(0)
    system = started(root(probes.child("a"), probes.child("b")))
    kill(system, "a", "exit" if where == "exit" else "end")
    system.advance(0.25)
    assert epochs(system, "a", "b") == [2, 1]
    assert len(of(system, Exited, "a")) == 1


def test_case_35_late_and_foreign_exit_notices_change_nothing() -> None:
    probes = Probes()
    system = started(root(probes.child("a", shutdown_seconds=1.0), max_restarts=1))
    old = system.threads.incarnations[0]
    system.threads.stuck.add("a#1")
    system._kernel.post(system._kernel.nodes["a"].stop)
    system.advance(2.0)
    system.restart_child("a")
    system.threads.stuck.clear()
    system.settle()
    assert [event.epoch for event in of(system, WrittenOffEnded)] == [1]
    old._on_end(old)
    system.settle()
    assert [event.name for event in of(system, KernelFault)] == ["a"]
    assert epochs(system, "a") == [2]
    assert row(system, "a")["restarts"] == 0


def test_case_36_a_message_to_a_supervisor_is_refused_and_harms_nobody() -> None:
    probes = Probes()
    system = started(root(probes.child("a"), sub("inner")))
    assert isinstance(raised(lambda: system.tell("inner", "foo")), UnknownName)
    assert isinstance(raised(lambda: system.tell("root", object())), UnknownName)
    system.tell("a", object())
    system.settle()
    assert epochs(system, "a") == [1]


@pytest.mark.parametrize("kind", [Restart.TEMPORARY, Restart.TRANSIENT])
@pytest.mark.parametrize("when", [AutoShutdown.ANY_SIGNIFICANT, AutoShutdown.ALL_SIGNIFICANT])
def test_case_37_the_own_end_of_significant_children_ends_the_supervisor(when: AutoShutdown, kind: Restart) -> None:
    probes = Probes()
    jobs = (
        probes.child("j", restart=kind, significant=True),
        probes.child("k", restart=kind, significant=True),
    )
    inner = sub("inner", probes.child("a"), *jobs, auto_shutdown=when, restart=Restart.TRANSIENT)
    system = started(root(inner, probes.child("z")))
    system.terminate_child("k")
    assert states(system)["inner"] == "up", "terminate_child does not count as an end of its own"
    if kind is Restart.TRANSIENT:
        system.restart_child("k")
    kill(system, "j", "end")
    if when is AutoShutdown.ALL_SIGNIFICANT and kind is Restart.TRANSIENT:
        assert states(system)["inner"] == "up", "k is left"
        kill(system, "k", "end")
    system.advance(1.0)
    assert states(system)["inner"] == "down"
    assert isinstance(last_exit(system, "inner").reason, Shutdown)
    assert probes.notes("stop")[-1] == "a"
    assert states(system)["z"] == "up"


def test_case_37_a_bystanders_stop_does_not_trigger_auto_shutdown() -> None:
    probes = Probes()
    job = probes.child("j", restart=Restart.TRANSIENT, significant=True)
    inner = sub(
        "inner",
        probes.child("a"),
        job,
        auto_shutdown=AutoShutdown.ANY_SIGNIFICANT,
        strategy=Strategy.ONE_FOR_ALL,
    )
    system = started(root(inner))
    kill(system, "a")
    system.advance(1.0)
    assert set(states(system).values()) == {"up"}


def test_case_38_a_supervisor_that_gave_up_is_rebuilt_afresh_by_its_parent() -> None:
    probes = Probes()
    system = started(root(sub("inner", *probes.children("ab"), max_restarts=1), probes.child("z")))
    system.start_child("inner", probes.child("dynamic"))
    for _ in range(2):
        kill(system, "a")
        system.advance(1.0)
    assert [event.name for event in of(system, GivenUp)] == ["inner"]
    assert isinstance(last_exit(system, "inner").reason, GaveUp)
    assert states(system) == {"root": "up", "inner": "up", "a": "up", "b": "up", "z": "up"}
    kill(system, "a")
    system.advance(1.0)
    assert len(of(system, GivenUp)) == 1, "the counts began anew"
    assert epochs(system, "z") == [1]
    assert isinstance(raised(lambda: system.tell("dynamic", "hello")), UnknownName)


def test_case_38_dynamic_children_below_a_restarted_supervisor_are_forgotten_too() -> None:
    probes = Probes()
    middle = sub("middle", probes.child("a"), sub("inner"), strategy=Strategy.ONE_FOR_ALL, max_restarts=0)
    system = started(root(middle))
    system.start_child("inner", probes.child("dynamic"))
    kill(system, "a")
    system.advance(1.0)
    assert "dynamic" not in states(system)
    assert isinstance(raised(lambda: system.tell("dynamic", "hello")), UnknownName)
    assert system.start_child("inner", probes.child("dynamic")) == 2


def test_case_38_giving_up_climbs_the_tree_to_the_root() -> None:
    probes = Probes()
    inner = sub("inner", probes.child("a"), max_restarts=1)
    system = started(root(sub("middle", inner, max_restarts=1), max_restarts=1))
    for _ in range(50):
        if system.ended is not None:
            break
        kill(system, "a")
        system.advance(0.5)
    assert system.ended is not None
    assert system.ended.kind is EndKind.GAVE_UP
    assert probes.notes("start").count("a") == 8, "the limits multiply over the levels: (1 + 1) ** 3"


def test_case_39_counts_stay_right_through_the_lives_of_2000_children() -> None:
    probes = Probes()
    names = [f"c{n}" for n in range(2000)]
    spec = root(
        *(probes.child(n) for n in names),
        max_restarts=5000,
        backoff_base_seconds=50.0,
        backoff_max_seconds=50.0,
    )
    system = started(spec)
    assert system.count_children("root").active == 2000
    for name in names[:1000]:
        system.tell(name, "crash")
    system.settle()
    assert (system.count_children("root").specs, system.count_children("root").active) == (2000, 1000)
    for name in names[:100]:
        system.terminate_child(name)
    assert system.count_children("root").active == 1000
    system.advance(51.0, step_seconds=5.0)
    assert system.count_children("root").active == 1900
    system.stop()
    assert system.threads.incarnations == []


def test_case_40_every_happening_is_one_structured_event_in_order() -> None:
    probes = Probes()
    system = started(root(probes.child("a"), max_restarts=1))
    kill(system, "a", "end")
    system.advance(0.25)
    kill(system, "a")
    kinds: list[tuple[type[Event], str]] = [(type(event), event.name) for event in system.events]
    assert kinds == [
        (Started, "a"),
        (Started, "root"),
        (Exited, "a"),
        (Restarting, "a"),
        (Started, "a"),
        (Exited, "a"),
        (GivenUp, "root"),
        (Exited, "root"),
    ]


@pytest.mark.parametrize("error", [BoomError("a full disk"), SystemExit(1)])
def test_case_40_a_failing_listener_or_monitor_never_breaks_supervision(error: BaseException) -> None:
    probes = Probes()
    seen: list[str] = []

    def fail(event: Any) -> None:
        raise error

    system = DrivenSystem(root(probes.child("a")), on_event=fan_out(fail, lambda event: seen.append(event.name)))
    system.start()
    system.monitor("a", fail)
    kill(system, "a")
    system.advance(0.25)
    assert epochs(system, "a") == [2]
    assert seen.count("a") == 4
    assert system.listener_failures >= 5


def test_case_40_log_records_are_structured_and_of_bounded_size(caplog: pytest.LogCaptureFixture) -> None:
    probes = Probes()
    system = DrivenSystem(root(probes.child("a")), on_event=log_events(logging.getLogger("kernel")))
    with caplog.at_level(logging.INFO, "kernel"):
        system.start()
        system.tell("a", "x" * 100_000)
        system.tell("a", ("call", lambda probe: probe.stop(Shutdown("y" * 100_000))))
        kill(system, "a")
        system.advance(0.25)
        kill(system, "a")
        system.stop()
    assert max(len(record.getMessage()) for record in caplog.records) < 20_000
    crash = next(r for r in caplog.records if "Crashed" in r.getMessage() and "Exited" in r.getMessage())
    assert crash.levelno == logging.WARNING
    fields = vars(crash)
    assert (fields["supervision_event"], fields["supervision_name"]) == ("Exited", "a")
    assert "BoomError" in fields["supervision_stack"]
    assert of(system, Undelivered) == []
