"""Names, mailboxes, questions and timers: no message is lost in silence, nobody waits without bound."""

from __future__ import annotations

import threading
import time
from typing import Any

import pykka
import pytest

from supervision import (
    AskFailed,
    ChildSpec,
    Mailbox,
    MailboxFull,
    NotAttempted,
    NotRunning,
    OutcomeUnknown,
    Restart,
    Strategy,
    SupervisorSpec,
    System,
    Timer,
    Undelivered,
    UnknownName,
    WrittenOff,
)
from tests.supervision.supervision_kit import (
    Probe,
    Probes,
    epochs,
    kill,
    last_exit,
    of,
    raised,
    root,
    started,
    sub,
)
from tests.support.supervision import ActorHarness, DrivenSystem, Stuck, wait_until

LONG = {"backoff_base_seconds": 1000.0, "backoff_max_seconds": 1000.0}


def test_messages_between_incarnations_wait_and_the_one_in_hand_does_not_come_again() -> None:
    probes = Probes()
    system = started(root(probes.child("a")))
    for message in ("one", "crash", "two", "three"):
        system.tell("a", message)
    system.advance(1.0)
    assert probes.got == [("a", 1, "one"), ("a", 1, "crash"), ("a", 2, "two"), ("a", 2, "three")]


def test_what_the_exit_listener_tells_is_ahead_of_the_new_incarnations_own_messages() -> None:
    probes = Probes()
    listening: list[DrivenSystem] = []

    def tell_of_crash(event: Any) -> None:
        if type(event).__name__ == "Exited" and event.name == "a" and not event.expected:
            listening[0].tell("a", ("crashed with", event.in_hand))

    class Eager(Probe):
        def on_start(self) -> None:
            self.tell(self.name, "own first")

    system = DrivenSystem(root(ChildSpec("a", lambda: Eager(probes))), on_event=tell_of_crash)
    listening.append(system)
    system.start()
    kill(system, "a")
    system.advance(1.0)
    assert [m for _, epoch, m in probes.got if epoch == 2] == [("crashed with", ("crash",)), "own first"]


def test_a_child_that_refuses_while_down_hands_messages_back() -> None:
    probes = Probes()
    system = started(root(probes.child("a", while_down=Mailbox.REFUSE), **LONG))
    system.tell("a", "crash")
    system.tell("a", "behind")
    system.settle()
    with pytest.raises(NotRunning, match="a is down"):
        system.tell("a", "later")
    assert [event.messages for event in of(system, Undelivered)] == [("behind",)]
    system.advance(1000.0, step_seconds=50.0)
    assert epochs(system, "a") == [2]


def test_messages_to_one_that_will_not_return_are_refused_and_reported() -> None:
    probes = Probes()
    system = started(root(probes.child("a", restart=Restart.TRANSIENT), probes.child("b")))
    for message in ("end", "behind"):
        system.tell("a", message)
    system.settle()
    assert [event.messages for event in of(system, Undelivered)] == [("behind",)]
    assert isinstance(raised(lambda: system.tell("a", 1)), NotRunning)
    assert isinstance(raised(lambda: system.tell("nobody", 1)), UnknownName)
    system.stop()
    assert isinstance(raised(lambda: system.tell("b", 1)), NotRunning)


def test_messages_wait_through_the_restart_of_the_whole_subtree() -> None:
    probes = Probes()
    inner = sub("inner", *probes.children("ab"), strategy=Strategy.ONE_FOR_ALL, max_restarts=0)
    system = started(root(inner))
    system.tell("a", "crash")
    system.settle()
    system.tell("b", "kept")
    system.advance(1.0)
    assert ("b", 2, "kept") in probes.got


def test_a_full_mailbox_refuses_an_outsider_at_once_and_an_actor_after_a_bounded_wait() -> None:
    probes = Probes()
    system = System(root(probes.child("slow", mailbox_limit=2), probes.child("fast"), **LONG), full_mailbox_seconds=0.2)
    system.start()
    release, entered, outcome = threading.Event(), threading.Event(), []

    def block(probe: Probe) -> None:
        entered.set()
        release.wait(10)

    def outrun(probe: Probe) -> None:
        began = time.monotonic()
        for number in range(5):
            try:
                probe.tell("slow", number)
            except MailboxFull:
                outcome.append((number, time.monotonic() - began))
                return

    try:
        system.tell("slow", ("call", block))
        assert entered.wait(5)
        system.ask("fast", ("call", outrun), 5.0)
        ((number, waited),) = outcome
        assert (number, 0.2 <= waited < 2.0) == (2, True)
        with pytest.raises(MailboxFull):
            system.tell("slow", "x")
        release.set()
        system.tell("slow", "room again", timeout_seconds=5.0)
        assert wait_until(lambda: system.waiting_messages()["slow"] == 0)
    finally:
        release.set()
        system.stop(5.0)
    assert [message for name, _, message in probes.got if name == "slow"][1:] == [0, 1, "room again"]


def test_waiting_for_room_in_a_full_mailbox_is_not_hanging() -> None:
    probes, written_off = Probes(), []
    release = threading.Event()

    def listen(event: object) -> None:
        if isinstance(event, WrittenOff):
            written_off.append(event.name)

    children = (probes.child("full", mailbox_limit=1, hang_seconds=None), probes.child("sender", hang_seconds=0.1))
    system = System(root(*children), full_mailbox_seconds=30.0, tick_seconds=0.02, on_event=listen)
    system.start()
    try:
        system.tell("full", ("call", lambda _: release.wait(30)))
        assert wait_until(lambda: system.waiting_messages()["full"] == 0)
        for number in range(2):
            system.tell("sender", ("tell", "full", number))
        assert wait_until(lambda: system.waiting_messages()["full"] == 1)
        rounds = system.progress().rounds
        assert wait_until(lambda: system.progress().rounds > rounds + 25)
        assert written_off == []
        release.set()
        assert wait_until(lambda: [message for name, _, message in probes.got if name == "full"][1:] == [0, 1])
    finally:
        release.set()
        system.stop(5.0)


def test_every_question_has_an_answer_in_bounded_time_whatever_happens() -> None:
    probes = Probes()
    system = started(root(*probes.children("ab", shutdown_seconds=1.0), **LONG))
    assert system.ask("a", "who", 1.0) == ("a", 1)
    assert isinstance(raised(lambda: system.ask("a", "crash", 1.0)), AskFailed)
    assert isinstance(raised(lambda: system.ask("a", "is down", 0.01)), NotAttempted)
    assert system.waiting_messages()["a"] == 0, "a question given up is taken back"
    system.tell("b", Stuck())
    system.settle()
    assert isinstance(raised(lambda: system.ask("b", "behind it", 0.01)), NotAttempted)
    assert isinstance(raised(lambda: system.ask("nobody", "x", 1.0)), UnknownName)
    system.stop()
    assert isinstance(raised(lambda: system.ask("a", "x", 1.0)), NotAttempted)


def test_questions_in_hand_and_waiting_are_settled_when_their_actor_is_written_off() -> None:
    probes = Probes()
    system = started(root(probes.child("a", hang_seconds=10.0, while_down=Mailbox.REFUSE), **LONG))
    mailbox = system._kernel.mailbox("a")
    asked: dict[str, pykka.ThreadingFuture[Any]] = {
        "held": pykka.ThreadingFuture(),
        "behind": pykka.ThreadingFuture(),
    }
    mailbox.put(pykka._envelope.Envelope(Stuck(), reply_to=asked["held"]))
    mailbox.put(pykka._envelope.Envelope("behind", reply_to=asked["behind"]))
    system.advance(11.0)
    with pytest.raises(OutcomeUnknown):
        asked["held"].get(timeout=0)
    with pytest.raises(NotAttempted):
        asked["behind"].get(timeout=0)


def test_take_waiting_drains_told_messages_up_to_a_limit_and_never_a_question() -> None:
    probes = Probes()
    taken: list[list[Any]] = []

    def drain(probe: Probe) -> None:
        taken.append(probe.take_waiting(3))

    def drain_and_crash(probe: Probe) -> None:
        taken.append(probe.take_waiting(10))
        raise RuntimeError("with all of it in hand")

    system = started(root(probes.child("a")))
    system.threads.stuck.add("a")
    for message in (("call", drain), 1, 2, 3, 4, ("call", drain_and_crash), 5, 6):
        system.tell("a", message)
    system.threads.stuck.clear()
    system.settle()
    assert taken[0] == [1, 2, 3]
    assert taken[1] == [5, 6]
    assert last_exit(system, "a").in_hand == (("call", drain_and_crash), 5, 6)


def test_take_waiting_leaves_a_question_in_its_place() -> None:
    probes = Probes()
    taken: list[list[Any]] = []
    system = started(root(probes.child("a")))
    system.threads.stuck.add("a")
    system.tell("a", ("call", lambda probe: taken.append(probe.take_waiting(10))))
    system.tell("a", 1)
    system._kernel.mailbox("a").put(pykka._envelope.Envelope("question", reply_to=pykka.ThreadingFuture()))
    system.tell("a", 2)
    system.threads.stuck.clear()
    system.settle()
    assert taken == [[1]]
    assert [message for _, _, message in probes.got][1:] == ["question", 2]


def test_timers_tell_the_actor_itself_and_die_with_its_incarnation() -> None:
    probes = Probes()

    class Timed(Probe):
        def on_start(self) -> None:
            self.after(5.0, f"once of {self.epoch}")
            self.every(10.0, f"beat of {self.epoch}")
            self.after(1.0, "never").cancel()

    system = started(root(ChildSpec("a", lambda: Timed(probes))))
    system.advance(31.0)
    assert [message for _, _, message in probes.got] == ["once of 1"] + 3 * ["beat of 1"]
    probes.got.clear()
    kill(system, "a")
    system.advance(12.0)
    assert [message for _, _, message in probes.got] == ["crash", "once of 2", "beat of 2"]
    system.stop()


def test_beats_do_not_pile_up_behind_a_busy_actor_and_can_be_cancelled() -> None:
    probes = Probes()
    beats: list[Any] = []
    system = started(root(probes.child("a", hang_seconds=None)))
    system.ask("a", ("call", lambda probe: beats.append(probe.every(1.0, "beat"))), 1.0)
    probes.got.clear()
    system.threads.stuck.add("a")
    system.advance(100.0)
    assert system.waiting_messages()["a"] == 1
    system.threads.stuck.clear()
    system.advance(2.0)
    beats[0].cancel()
    system.advance(10.0)
    assert 2 <= len(probes.got) <= 4


def test_a_timer_may_fire_before_its_actor_has_it_in_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = Probes()
    system = System(root(probes.child("a")))
    after, fired = system._kernel.after, []

    def slow_after(*arguments: Any) -> Timer:
        timer = after(*arguments)
        fired.append(wait_until(lambda: not timer.pending))
        return timer

    system.start()
    try:
        monkeypatch.setattr(system._kernel, "after", slow_after)
        system.tell("a", ("call", lambda probe: probe.after(0.0, "at once")))
        assert wait_until(lambda: ("a", 1, "at once") in probes.got)
        assert fired == [True]
        assert system.ended is None
    finally:
        system.stop(5.0)


def test_timers_of_dead_incarnations_leave_nothing_behind() -> None:
    probes = Probes()

    class Timed(Probe):
        def on_start(self) -> None:
            self.every(100_000.0, "beat")

    system = started(root(ChildSpec("a", lambda: Timed(probes)), probes.child("b"), max_restarts=10_000))
    system.ask("b", ("call", lambda probe: probe.after(50_000.0, "still due, ahead of all the others")), 1.0)
    for _ in range(500):
        kill(system, "a")
        system.advance(0.25)
    assert len(system._kernel._timers) < 200


def test_an_actor_can_be_tried_alone_on_a_stage() -> None:
    probes = Probes()
    harness = ActorHarness("a", lambda: Probe(probes))
    harness.actor.on_start()
    harness.actor.on_receive(("tell", "b", "hello"))
    harness.actor.every(5.0, "beat")
    assert harness.told == [("b", "hello")]
    assert [seconds for seconds, _ in harness.timers] == [5.0]
    assert (harness.actor.name, harness.actor.epoch, harness.actor.fenced) == ("a", 1, False)


def test_names_of_a_system_are_its_own() -> None:
    spec = SupervisorSpec("root", children=(Probes().child("a"),))
    one, two = started(spec), started(spec)
    one.stop()
    assert epochs(two, "a") == [1]
