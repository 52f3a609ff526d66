"""For tests: a clock that the test moves, actors without threads, a tree driven step by step, one actor alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pykka

from supervision.actor import Actor, Incarnation
from supervision.clock import system_randomness
from supervision.events import Event
from supervision.kernel import Kernel, Question
from supervision.mailbox import Reader
from supervision.spec import ChildSpec, SupervisorSpec
from supervision.system import System
from supervision.timers import Timer


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, wall: datetime | None = None) -> None:
        self._monotonic = 1000.0
        self._boottime = 5000.0
        self._wall = wall or datetime(2026, 11, 15, tzinfo=UTC)

    def monotonic(self) -> float:
        return self._monotonic

    def boottime(self) -> float:
        return self._boottime

    def wall(self) -> datetime:
        return self._wall

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Moves the time on instead of sleeping, unless the event is set."""
        if not event.is_set() and seconds is not None:
            self.advance(seconds)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        self._monotonic += seconds
        self._boottime += seconds
        self._wall += timedelta(seconds=seconds)

    def step_wall(self, seconds: float) -> None:
        """The calendar is set, forward or back; nothing else moves."""
        self._wall += timedelta(seconds=seconds)


class Stuck:
    """A message that InlineThreads never finishes handling."""


class InlineThreads:
    """Stands in for threads: each incarnation does one message at a time when it is its turn.

    One whose name, or name#epoch, is in `stuck` gets no turn, as a thread in a call that does not
    return; so does one that begins with a Stuck message. `refuses` raises instead of starting, as a
    machine without a thread left.
    """

    def __init__(self) -> None:
        self.incarnations: list[Incarnation] = []
        self.stuck: set[str] = set()
        self.refuses = False

    def __call__(self, incarnation: Incarnation) -> None:
        if self.refuses:
            raise RuntimeError("can't start new thread")
        self.incarnations.append(incarnation)

    def turn(self) -> bool:
        """Lets each incarnation go one step on; whether any of them did something."""
        stepped = [self._step(incarnation) for incarnation in list(self.incarnations)]
        return any(stepped)

    def _step(self, incarnation: Incarnation) -> bool:
        this = f"{incarnation.name}#{incarnation.epoch}"
        if this in self.stuck or incarnation.name in self.stuck:
            return False
        if incarnation.serial == 0:
            goes_on = incarnation.begin()
        else:
            envelope = incarnation.mailbox.next_for(incarnation, block=False)
            if envelope is None and not incarnation.ending:
                return False
            if envelope is not None and isinstance(envelope.message, Stuck):
                incarnation.serial += 1
                self.stuck.add(this)
                return True
            goes_on = envelope is not None and incarnation.handle(envelope)
        if not goes_on:
            self.incarnations.remove(incarnation)
            incarnation.close()
        return True


class DrivenSystem(System):
    """A system without threads: it goes on while a call waits for it, and in `advance`. A seed repeats a run."""

    def __init__(self, root: SupervisorSpec, threads: InlineThreads | None = None, **options: Any) -> None:
        self.fake = FakeClock()
        self.threads = threads if threads is not None else InlineThreads()
        self.events: list[Event] = []
        defaults: dict[str, Any] = {"clock": self.fake, "start_thread": self.threads, "on_event": self.events.append}
        super().__init__(root, **(defaults | options))

    def settle(self) -> None:
        """Goes on until nothing is left to do at this instant."""
        busy = True
        while busy:
            goes_on = self.ended is None and self._kernel.turn()
            busy = self.threads.turn() or goes_on

    def advance(self, seconds: float, step_seconds: float = 0.25) -> None:
        """Time passes in steps, and the tree goes on after each."""
        self.settle()
        while seconds > 1e-9:
            self.fake.advance(min(step_seconds, seconds))
            seconds -= step_seconds
            self.settle()

    def _run(self) -> None: ...

    def _get(self, question: Question, timeout_seconds: float | None) -> Any:
        until = self.fake.monotonic() + (3600 if timeout_seconds is None else timeout_seconds)
        self.settle()
        while True:
            try:
                return question.get(timeout=0)
            except pykka.Timeout:
                if self.fake.monotonic() >= until:
                    raise
            self.advance(0.25)


class ActorHarness(Kernel):
    """One actor alone, in the test's own thread. Keeps what it tells and which timers it sets; none fires by itself.

    `ActorHarness("biller", lambda: Biller(...))` makes it; the test then calls `actor.on_receive(...)`.
    """

    def __init__(self, name: str, factory: Callable[[], Actor]) -> None:
        super().__init__(FakeClock(), system_randomness(), None, 0.25, 0, 0.0)
        self.told: list[tuple[str, Any]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        spec = ChildSpec(name, factory, mailbox_limit=1_000_000)
        self.add_mailbox(spec)
        self.incarnation = Incarnation(spec, 1, self, lambda _: None, lambda _: None)
        self.actor = self.incarnation.make()

    def tell(self, _: Reader | None, name: str, message: Any, wait_seconds: float = 0.0) -> None:
        self.told.append((name, message))

    def after(self, seconds: float, action: Callable[[], None], repeat: bool = False) -> Timer:
        self.timers.append((seconds, action))
        return super().after(seconds, action, repeat)


def wait_until(condition: Callable[[], bool], timeout_seconds: float = 10.0) -> bool:
    """Looks again and again, in real time, until the condition holds or the time is over."""
    pause, until = threading.Event(), time.monotonic() + timeout_seconds
    while not (holds := condition()) and time.monotonic() < until:
        pause.wait(0.002)
    return holds
