"""Lives in real threads: every way to die gives one notice, hangs are written off, a zombie can do no harm."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pykka
import pytest

from supervision import (
    Actor,
    AskFailed,
    ChildSpec,
    Crashed,
    EndKind,
    Event,
    Exited,
    FailedToStart,
    Fenced,
    Hung,
    Incarnation,
    Normal,
    Restart,
    Started,
    StartFailed,
    StopFailed,
    SupervisionError,
    SupervisorSpec,
    System,
    ThreadNotStarted,
    WrittenOff,
    WrittenOffEnded,
    dump_stacks,
    start_thread,
)
from tests.support.supervision import wait_until


class Board:
    """A system in real threads, its events, and what its actors may wait for."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.release = threading.Event()
        self.entered = threading.Event()
        self.got: list[tuple[int, Any]] = []
        self.systems: list[System] = []

    def run(self, *children: ChildSpec, **options: Any) -> System:
        """A started system that restarts at once and ticks quickly."""
        root = SupervisorSpec(
            "root", children=children, backoff_base_seconds=0.0, max_restarts=options.pop("max_restarts", 5)
        )
        options.setdefault("tick_seconds", 0.02)
        system = System(root, on_event=self.events.append, **options)
        self.systems.append(system)
        system.start()
        return system

    def of(self, kind: type[Any], name: str = "a") -> list[Any]:
        """Events of that kind and name."""
        return [event for event in list(self.events) if isinstance(event, kind) and event.name == name]

    def wait_for(self, kind: type[Any], count: int = 1, name: str = "a") -> list[Any]:
        """The same, once there are so many."""
        assert wait_until(lambda: len(self.of(kind, name)) >= count), self.events
        return self.of(kind, name)


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board()
    yield board
    board.release.set()
    for system in board.systems:
        system.stop(5.0)


class Mortal(Actor):
    """Dies where it is told to, of what it is told to."""

    def __init__(self, board: Board, where: str = "", error: BaseException | None = None) -> None:
        super().__init__()
        self.board, self.where, self.error = board, where, error
        if where == "init":
            self._die()

    def _die(self) -> None:
        if self.error is not None:
            raise self.error

    def on_start(self) -> None:
        if self.where == "start" and self.epoch == 1:
            self._die()

    def on_receive(self, message: Any) -> Any:
        self.board.got.append((self.epoch, message))
        if message == "hang":
            self.board.entered.set()
            self.board.release.wait(30)
            if self.board.release.is_set():
                self.tell("b", f"zombie of epoch {self.epoch}")
        elif message == "wait":
            with self.waiting():
                self.board.entered.set()
                self.board.release.wait(30)
        elif message == "end":
            self.stop()
        elif self.where == "receive" and message == "die":
            self._die()
        return self.epoch

    def on_stop(self) -> None:
        if self.where == "stop" and self.epoch == 1:
            self._die()


DEATHS: list[tuple[str, BaseException, type[Any]]] = [
    (where, error, reason)
    for where, reason in (("receive", Crashed), ("stop", StopFailed))
    for error in (ValueError("x"), SystemExit(0), KeyboardInterrupt(), GeneratorExit())
]


@pytest.mark.parametrize(("where", "error", "reason"), DEATHS)
def test_every_way_to_die_gives_one_typed_notice_and_harms_nobody_else(
    board: Board, where: str, error: BaseException, reason: type[Any]
) -> None:
    system = board.run(ChildSpec("a", lambda: Mortal(board, where, error)), ChildSpec("b", lambda: Mortal(board)))
    system.tell("a", "die" if where == "receive" else "end")
    board.wait_for(Started, 2)
    (notice,) = board.of(Exited)
    assert isinstance(notice.reason, reason)
    assert notice.reason.exception is error
    assert notice.in_hand == (("die",) if where == "receive" else ())
    assert "Mortal" in notice.reason.traceback or "_die" in notice.reason.traceback
    assert error.__traceback__ is None, "the notice pins no dead frames"
    assert system.ask("a", "alive?", 5.0) == 2
    assert system.ask("b", "alive?", 5.0) == 1


@pytest.mark.parametrize("where", ["init", "start"])
@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(0), KeyboardInterrupt()])
def test_any_failure_in_start_is_told_to_the_one_who_starts(board: Board, where: str, error: BaseException) -> None:
    with pytest.raises(StartFailed) as failure:
        board.run(ChildSpec("a", lambda: Mortal(board, where, error)))
    assert failure.value.__cause__ is error
    (notice,) = board.of(Exited)
    assert isinstance(notice.reason, FailedToStart)


def test_a_normal_end_is_a_notice_too(board: Board) -> None:
    system = board.run(ChildSpec("a", lambda: Mortal(board), restart=Restart.TRANSIENT))
    system.tell("a", "end")
    (notice,) = board.wait_for(Exited)
    assert notice.reason == Normal()


def test_a_thread_that_the_machine_refuses_is_a_failed_start_and_is_tried_again(board: Board) -> None:
    refusals = iter([False, True, True, False])

    def start(incarnation: Incarnation) -> None:
        if next(refusals):
            raise RuntimeError("can't start new thread")
        start_thread(incarnation)

    system = board.run(ChildSpec("a", lambda: Mortal(board, "receive", ValueError())), start_thread=start)
    system.tell("a", "die")
    board.wait_for(Started, 2)
    assert [type(e.reason) for e in board.of(Exited)] == [Crashed, ThreadNotStarted, ThreadNotStarted]
    assert system.ask("a", "alive?", 5.0) == 4


def test_an_exception_under_ask_reaches_the_asker_and_crashes_the_actor(board: Board) -> None:
    error = ValueError("x")
    system = board.run(ChildSpec("a", lambda: Mortal(board, "receive", error)))
    with pytest.raises(AskFailed) as failure:
        system.ask("a", "die", 5.0)
    assert failure.value.__cause__ is error
    board.wait_for(Started, 2)


def test_a_hung_actor_is_written_off_fenced_and_replaced(board: Board) -> None:
    system = board.run(ChildSpec("a", lambda: Mortal(board), hang_seconds=0.2), ChildSpec("b", lambda: Mortal(board)))
    system.tell("a", "hang")
    system.tell("a", "next")
    board.wait_for(Started, 2)
    (notice,) = board.of(Exited)
    assert isinstance(notice.reason, Hung)
    assert notice.in_hand == ("hang",)
    assert "on_receive" in notice.reason.stack, "the dump shows where it stands"
    assert system.ask("a", "alive?", 5.0) == 2
    assert (2, "next") in board.got
    board.release.set()
    board.wait_for(WrittenOffEnded)
    assert system.ask("b", "alive?", 5.0) == 1
    assert not [m for _, m in board.got if "zombie" in str(m)], "what the zombie tells is refused"
    assert len(board.of(Exited)) == 1, "its late end is no second notice"


def test_waiting_is_not_hanging(board: Board) -> None:
    system = board.run(ChildSpec("a", lambda: Mortal(board), hang_seconds=0.1))
    system.tell("a", "wait")
    board.entered.wait(5)
    rounds = system.progress().rounds
    assert wait_until(lambda: system.progress().rounds > rounds + 25)
    assert board.of(WrittenOff) == []
    board.release.set()
    assert system.ask("a", "alive?", 5.0) == 1


def test_too_many_written_off_threads_alive_end_the_system(board: Board) -> None:
    system = board.run(ChildSpec("a", lambda: Mortal(board), hang_seconds=0.1), max_restarts=2)
    for _ in range(3):
        system.tell("a", "hang")
    ended = system.wait(20.0)
    assert ended is not None
    assert ended.kind is EndKind.GAVE_UP
    assert "written off" in str(ended.reason) or "restarts" in str(ended.reason)
    assert [event.alive for event in board.of(WrittenOff)] == [1, 2, 3]


def test_idle_actors_stop_at_once(board: Board) -> None:
    system = board.run(*(ChildSpec(f"c{n}", lambda: Mortal(board), shutdown_seconds=60.0) for n in range(50)))
    began = system.clock.monotonic()
    system.stop()
    assert system.clock.monotonic() - began < 30.0, "nobody's budget is used up"
    assert not [event for event in board.events if isinstance(event, WrittenOff)]


def test_a_stop_that_a_blocked_listener_holds_up_says_so(board: Board) -> None:
    system = board.run(ChildSpec("a", lambda: Mortal(board)))

    def block(_: Exited) -> None:
        board.release.wait(60)

    system.monitor("a", block)
    with pytest.raises(SupervisionError, match="does not go on"):
        system.stop(0.1)


def test_on_unblock_frees_a_written_off_thread(board: Board) -> None:
    class Courier(Mortal):
        def on_start(self) -> None:
            self.on_unblock(lambda: 1 / 0)
            self.on_unblock(board.release.set)

    system = board.run(ChildSpec("a", lambda: Courier(board), hang_seconds=0.1))
    system.tell("a", "hang")
    board.wait_for(WrittenOffEnded)


def test_an_actor_that_was_stopped_or_never_supervised_sends_nothing(board: Board) -> None:
    kept: list[Mortal] = []

    def make() -> Mortal:
        kept.append(Mortal(board))
        return kept[-1]

    system = board.run(ChildSpec("a", make))
    system.stop(5.0)
    for action in (lambda: kept[0].tell("a", 1), lambda: kept[0].after(1, 1), lambda: kept[0].every(1, 1)):
        act: Callable[[], Any] = action
        with pytest.raises(Fenced):
            act()
    assert kept[0].fenced


def test_an_actor_has_no_name_in_its_constructor_and_serves_one_incarnation_only(board: Board) -> None:
    class Eager(Mortal):
        def __init__(self) -> None:
            super().__init__(board)
            with pytest.raises(SupervisionError, match="not supervised"):
                _ = self.name

    kept = Eager()
    with pytest.raises(StartFailed, match="must make a new Actor"):
        board.run(ChildSpec("a", lambda: kept), ChildSpec("b", lambda: kept))
    assert [event.name for event in board.events if isinstance(event, Started)] == ["a"]


def test_pykkas_registry_and_start_are_left_out(board: Board) -> None:
    board.run(ChildSpec("a", lambda: Mortal(board)))
    assert pykka.ActorRegistry.get_all() == []
    with pytest.raises(Exception, match="started by its supervisor"):
        Mortal.start(board)
    assert pykka.ActorRegistry.get_all() == []


def test_a_pykka_reference_and_proxy_still_reach_the_incarnation(board: Board) -> None:
    refs: list[pykka.ActorRef[Any]] = []

    class Open(Mortal):
        def on_start(self) -> None:
            refs.append(self.actor_ref)

        def double(self, number: int) -> int:
            return 2 * number

    system = board.run(ChildSpec("a", lambda: Open(board), restart=Restart.TRANSIENT))
    assert refs[0].proxy().double(21).get(timeout=5) == 42
    refs[0].stop(block=False)
    board.wait_for(Exited)
    with pytest.raises(pykka.ActorDeadError):
        refs[0].tell("too late")
    assert system.tree()["children"][0]["state"] == "down"


def test_stacks_of_all_threads_are_dumped_under_their_names(board: Board) -> None:
    system = board.run(ChildSpec("a", lambda: Mortal(board), hang_seconds=None))
    system.tell("a", "hang")
    board.entered.wait(5)
    text = dump_stacks()
    assert "--- a#1" in text
    assert "--- supervision" in text
    assert "release.wait" in text
