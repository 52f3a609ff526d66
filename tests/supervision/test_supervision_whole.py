"""The whole tree: freezes, hangs, poison, monitors, progress, ends, and what ten thousand crashes leave."""

from __future__ import annotations

import gc
import sys
import threading
from pathlib import Path

import pytest

from supervision import (
    Actor,
    ChildSpec,
    Crashed,
    EndKind,
    Exited,
    Fenced,
    GaveUp,
    GivenUp,
    Hung,
    KernelFault,
    NotRunning,
    Randomness,
    Restart,
    Restarting,
    Shutdown,
    Started,
    StartFailed,
    Strategy,
    SupervisionError,
    SupervisorSpec,
    System,
    Unstarted,
    WrittenOff,
)
from tests.supervision.supervision_kit import (
    FullWait,
    Probe,
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
from tests.support.supervision import DrivenSystem, InlineThreads, Stuck, wait_until


def test_hanging_is_counted_in_the_kernels_own_ticks_so_that_a_freeze_makes_nobody_late() -> None:
    probes = Probes()
    system = started(root(probes.child("a", hang_seconds=10.0), probes.child("b")))
    system.tell("a", Stuck())
    system.advance(5.0)
    system.fake.advance(3600.0)
    system.settle()
    assert of(system, WrittenOff) == [], "an hour in which the kernel itself did not run"
    system.advance(3.0)
    assert of(system, WrittenOff) == []
    system.advance(3.0)
    assert [event.name for event in of(system, WrittenOff)] == ["a"]
    assert isinstance(last_exit(system, "a").reason, Hung)
    assert epochs(system, "a", "b") == [2, 1]


def test_a_freeze_makes_nobody_late_in_starting_or_stopping_either() -> None:
    probes = Probes()
    system = started(root(probes.child("a", start_seconds=10.0, shutdown_seconds=10.0)))
    system.threads.stuck.add("a")
    system._kernel.post(system._stop_root)
    system.settle()
    system.fake.advance(3600.0)
    system.settle()
    assert of(system, WrittenOff) == []
    system.threads.stuck.clear()
    system.settle()
    assert last_exit(system, "a").reason == Shutdown()


def test_a_new_message_begins_a_new_count() -> None:
    probes = Probes()
    system = started(root(probes.child("a", hang_seconds=10.0)))
    for _ in range(10):
        system.tell("a", "work")
        system.advance(9.0)
    assert of(system, WrittenOff) == []


def test_one_poison_message_costs_one_incarnation_and_is_on_record() -> None:
    probes = Probes()
    system = started(root(probes.child("a"), max_restarts=3))
    for message in (1, "crash", 2, 3):
        system.tell("a", message)
    system.advance(1.0)
    assert [event.in_hand for event in of(system, Exited)] == [("crash",)]
    assert [m for _, _, m in probes.got] == [1, "crash", 2, 3]


def test_a_zombies_writes_are_refused_by_its_epoch() -> None:
    probes = Probes()
    old: list[Probe] = []
    system = started(root(probes.child("a", hang_seconds=1.0), probes.child("b")))
    system.ask("a", ("call", old.append), 1.0)
    system.tell("a", Stuck())
    system.advance(3.0)
    (zombie,) = old
    assert zombie.fenced
    assert system.ask("a", "who", 1.0)[1] > zombie.epoch
    with pytest.raises(Fenced):
        zombie.tell("b", "late")
    with pytest.raises(Fenced):
        zombie.after(1.0, "late")
    assert zombie.take_waiting(10) == []


def test_a_crash_in_the_middle_of_a_group_restart_is_worked_off_after_it() -> None:
    probes = Probes()
    system = started(root(*probes.children("abc"), strategy=Strategy.REST_FOR_ONE))
    system.threads.stuck.add("b#2")
    kill(system, "b")
    system.advance(0.25)
    assert states(system)["b"] == "starting"
    kill(system, "a")
    assert states(system)["a"] == "down", "its end waits until the start under way has ended"
    system.threads.stuck.clear()
    system.advance(1.0)
    assert set(states(system).values()) == {"up"}
    assert epochs(system, "a", "b", "c") == [2, 3, 3]


def test_a_group_that_waits_is_not_forgotten_when_a_later_child_crashes() -> None:
    probes = Probes()
    spec = root(
        *probes.children("ab"),
        strategy=Strategy.REST_FOR_ONE,
        backoff_base_seconds=50.0,
        backoff_max_seconds=50.0,
    )
    system = started(spec, randomness=FullWait())
    kill(system, "b")
    system.start_child("root", probes.child("late"))
    system.advance(20.0)
    kill(system, "late")
    system.advance(40.0)
    assert states(system) == {"root": "up", "a": "up", "b": "restarting", "late": "restarting"}
    probes.clear()
    system.advance(11.0)
    assert probes.notes("start") == ["b", "late"]


def test_a_childs_own_limit_counts_besides_its_supervisors() -> None:
    probes = Probes()
    system = started(root(probes.child("a", max_restarts=1), probes.child("b"), max_restarts=100))
    for _ in range(5):
        kill(system, "b")
        system.advance(0.25)
    for _ in range(2):
        kill(system, "a")
        system.advance(0.25)
    assert system.ended is not None
    assert "more than 1 restarts in 60 s, the last of a" in str(system.ended.reason)


def test_restarts_are_sooner_or_later_by_the_seed_and_the_seed_repeats_them() -> None:
    def delays(seed: int) -> list[float]:
        probes = Probes()
        spec = root(probes.child("a"), backoff_base_seconds=1.0, max_restarts=100)
        system = started(spec, randomness=Randomness(seed))
        for _ in range(5):
            kill(system, "a")
            system.advance(10.0)
        return [event.delay_seconds for event in of(system, Restarting)]

    assert delays(7) == delays(7) != delays(8)


def test_monitors_tell_the_end_once_also_when_asked_after_it() -> None:
    probes = Probes()
    seen: list[Exited] = []
    system = started(root(probes.child("a"), probes.child("t", restart=Restart.TEMPORARY)))
    system.monitor("a", seen.append)
    system.monitor("a", seen.append).cancel()
    kill(system, "a")
    system.advance(0.25)
    kill(system, "a")
    assert [(notice.name, notice.epoch) for notice in seen] == [("a", 1)]
    kill(system, "t")
    system.monitor("t", seen.append)
    system.settle()
    assert isinstance(seen[1].reason, Crashed)
    system.monitor("nobody", seen.append)
    system.settle()
    assert (seen[2].epoch, seen[2].reason) == (0, Unstarted())


def test_the_tree_is_plain_data_with_states_restarts_and_reasons() -> None:
    probes = Probes()
    system = started(root(sub("inner", probes.child("a")), probes.child("b")))
    kill(system, "a")
    system.advance(0.25)
    a = {
        "name": "a",
        "state": "up",
        "restarts": 1,
        "last_reason": "Crashed: BoomError: told to",
        "children": [],
    }
    assert row(system, "inner")["children"] == [a]
    assert set(system.tree()) == {"name", "state", "restarts", "last_reason", "children"}


def test_progress_grows_while_the_kernel_runs_and_stands_when_a_listener_blocks_it() -> None:
    release = threading.Event()
    probes = Probes()

    def listen(event: object) -> None:
        if isinstance(event, Exited):
            release.wait(10)

    system = System(root(probes.child("a"), sub("inner")), tick_seconds=0.01, on_event=listen)
    system.start()
    try:
        rounds = system.progress().rounds
        assert wait_until(lambda: system.progress().rounds > rounds + 5)
        assert system.progress().supervisors == 2
        system.tell("a", "crash")
        assert wait_until(lambda: system.progress().age_seconds > 0.2)
    finally:
        release.set()
        system.stop(5.0)


def test_a_listener_that_would_wait_for_its_own_thread_is_refused() -> None:
    problems: list[BaseException] = []
    probes = Probes()
    systems: list[System] = []

    def listen(event: object) -> None:
        if isinstance(event, Exited) and not problems:
            try:
                systems[0].restart_child("a")
            except SupervisionError as error:
                problems.append(error)

    system = System(root(probes.child("a")), on_event=listen)
    systems.append(system)
    system.start()
    system.tell("a", "crash")
    assert wait_until(lambda: bool(problems))
    system.stop(5.0)


def test_a_system_is_stopped_without_having_started_and_started_once() -> None:
    system = System(root(Probes().child("a")))
    assert system.stop().kind is EndKind.STOPPED
    with pytest.raises(SupervisionError):
        system.start()
    again = started(root())
    again.stop()
    with pytest.raises(NotRunning):
        again.start_child("root", Probes().child("b"))


def test_a_bug_of_the_kernel_ends_the_system_as_given_up() -> None:
    faults: list[object] = []
    system = System(root(Probes().child("a")), on_event=faults.append)
    system.start()

    def bug() -> None:
        raise AssertionError("impossible")

    system._kernel.post(bug)
    ended = system.wait(5.0)
    assert ended is not None
    assert (ended.kind, isinstance(ended.reason, GaveUp)) == (EndKind.GAVE_UP, True)
    assert any(isinstance(fault, KernelFault) for fault in faults)
    with pytest.raises(NotRunning):
        system.tell("a", "anyone?")


def test_written_off_threads_over_the_cap_end_the_system_even_if_restarts_are_allowed() -> None:
    probes = Probes()
    system = started(root(probes.child("a", hang_seconds=1.0), max_restarts=100), written_off_limit=2)
    for _ in range(3):
        system.tell("a", Stuck())
        system.advance(3.0)
    assert system.ended is not None
    assert "3 threads that had to be written off" in str(system.ended.reason)
    assert [event.name for event in of(system, GivenUp)] == ["root"]


def test_a_start_that_fails_in_a_nested_supervisor_tells_the_childs_own_cause() -> None:
    probes = Probes()
    probes.failing_starts["b"] = 1
    system = DrivenSystem(root(probes.child("a"), sub("inner", probes.child("b"))), InlineThreads())
    with pytest.raises(StartFailed, match="inner did not start: b did not start") as failure:
        system.start()
    assert str(failure.value.__cause__) == "b can't start"
    assert probes.notes("stop") == ["a"]


def test_the_example_of_the_readme_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    readme = Path(__file__).parents[2] / "supervision" / "README.md"
    example = readme.read_text("utf-8").split("```python\n")[1].split("```")[0]
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out == "hello from greeter, incarnation 2\n"


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Fuse(Actor):
    """Crashes of every message."""

    def on_receive(self, message: object) -> None:
        raise ValueError(f"crash {message}")


class Crasher:
    """A system with one Fuse that may crash as often as it likes, and a count of its ends."""

    def __init__(self) -> None:
        self.exits = self.target = 0
        self.done = threading.Event()
        self.system = System(
            SupervisorSpec(
                "root",
                children=(ChildSpec("a", Fuse),),
                max_restarts=1_000_000,
                window_seconds=0.5,
                backoff_base_seconds=0.0,
            ),
            on_event=self.listen,
        )

    def listen(self, event: object) -> None:
        """Counts, and says when the last one is up again."""
        if isinstance(event, Exited) and event.name == "a":
            self.exits += 1
        if isinstance(event, Started) and self.exits >= self.target:
            self.done.set()

    def crash_until(self, count: int) -> None:
        """Returns when it has crashed so often in all."""
        self.done.clear()
        already, self.target = self.exits, count
        for number in range(already, count):
            self.system.tell("a", number, timeout_seconds=60.0)
        assert self.done.wait(500)
        gc.collect()


@pytest.mark.timeout(600)
def test_ten_thousand_crashes_leave_no_thread_descriptor_or_memory_behind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    crasher = Crasher()
    crasher.system.start()
    try:
        crasher.crash_until(500)
        threads, files = threading.active_count(), _descriptors()
        blocks = sys.getallocatedblocks()
        crasher.crash_until(10_500)
        grown = sys.getallocatedblocks() - blocks
        assert threading.active_count() == threads
        assert _descriptors() == files
        assert grown < 2_000, "of ten thousand crashes not even one block each is kept"
        assert crasher.system.tree()["children"][0]["restarts"] == 10_500
    finally:
        crasher.system.stop(5.0)
    with capsys.disabled():
        sys.stdout.write(
            f"\n10,000 crashes: {threads} threads, {files} descriptors before and after, {grown:+} memory blocks\n"
        )
