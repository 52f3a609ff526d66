"""A child that crashes or hangs, and its mailbox, in every order of senders, threads and the kernel's rounds.

Each message that was taken is handled once, or was in hand of an incarnation at its end; those of one sender keep
their order; and the child comes up again.
"""

import os
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from supervision.clock import SystemClock
from supervision.events import Exited
from supervision.mailbox import Reader
from supervision.worker import Worker
from tests.supervision.supervision_kit import Probes, root
from tests.support.supervision import DrivenSystem, InlineThreads

ALL = os.environ.get("BILLINGD_FAULTS") == "all"
SEED = int(os.environ.get("BILLINGD_TEST_SEED", SystemClock().wall().toordinal()))
MESSAGES = ("one", "crash", "two", "hang", "three")
HANG_SECONDS = 1.0
ROUNDS_AT_MOST = 60


class Steps(DrivenSystem):
    """A system whose parts move only when they are told to, each by one step."""

    def __init__(self) -> None:
        self.probes = Probes()
        self.hand = InlineThreads()
        child = self.probes.child("a", hang_seconds=HANG_SECONDS)
        super().__init__(root(child, max_restarts=50), self.hand)
        self.start()
        self.sent: list[str] = []
        self.hanging: set[int] = set()
        self.late: list[Any] = []

    def able(self) -> dict[str, Callable[[], object]]:
        """Who can move, by name."""
        found: dict[str, Callable[[], object]] = {"kernel": self._round}
        if len(self.sent) < len(MESSAGES):
            found["sender"] = self._send
        for each in self.hand.incarnations:
            if each.serial == 0 or each.ending or len(each.mailbox) or each.epoch in self.hanging:
                found[f"a#{each.epoch}"] = lambda each=each: self._step(each)  # type: ignore[misc]
        return found

    def _round(self) -> None:
        self.fake.advance(0.5)
        self._kernel.turn()

    def _send(self) -> None:
        message = MESSAGES[len(self.sent)]
        self.sent.append(message)
        self.tell("a", message)

    def _step(self, incarnation: Any) -> None:
        """One message; the thread of one that hangs comes back with its next step, whatever has been decided since."""
        if incarnation.epoch in self.hanging:
            self.hanging.discard(incarnation.epoch)
            incarnation.serial += 1
            if not incarnation.fenced:
                self.probes.got.append((incarnation.name, incarnation.epoch, "hang"))
                incarnation.in_hand.clear()
            return
        waits = incarnation.mailbox._envelopes
        if incarnation.serial and not incarnation.ending and waits and waits[0].message == "hang":
            incarnation.mailbox.next_for(incarnation, block=False)
            incarnation.serial += 1
            self.hanging.add(incarnation.epoch)
            return
        number = len(self.probes.got)
        self.hand._step(incarnation)
        if incarnation.fenced:
            self.late += self.probes.got[number:]

    def judge(self, turns: list[str]) -> None:
        for _ in range(ROUNDS_AT_MOST):
            for name, step in self.able().items():
                if name != "kernel":
                    step()
            self._round()
        order = f"after {' '.join(turns)}"
        handled = [message for _, _, message in self.probes.got if message != "crash"]
        lost = [each for notice in self.events if isinstance(notice, Exited) for each in notice.in_hand]
        assert sorted(handled + lost) == sorted(MESSAGES), f"{order}: handled {handled}, in hand at an end {lost}"
        assert handled == [each for each in MESSAGES if each in handled], f"{order}: handled in the order {handled}"
        assert not self.late, f"{order}: taken by one that is over: {self.late}"
        assert self._kernel.nodes["a"].running, f"{order}: the child is down"


def explore(length: int, orders: int | None = None) -> int:
    """Tries each order of so many first steps (or so many of the orders); what follows goes round in turn."""
    chance, waiting, tried = random.Random(SEED), [list[str]()], 0
    while waiting and (orders is None or tried < orders):
        order = waiting.pop(chance.randrange(len(waiting)) if orders else -1)
        steps = Steps()
        for each in order:
            steps.able()[each]()
        able = sorted(steps.able()) if len(order) < length else []
        if able:
            waiting += [[*order, each] for each in able]
        else:
            tried += 1
            steps.judge(order)
    return tried


def test_no_order_loses_a_message() -> None:
    length = 12 if ALL else 7
    began = time.monotonic()
    tried = explore(length)
    print(f"restart, mailbox: all {tried} orders of the first {length} steps; {time.monotonic() - began:.0f} s")
    assert tried > 300


def drop_the_mailbox(patch: pytest.MonkeyPatch) -> None:
    """A restart begins with an empty mailbox."""
    begin = Worker.begin

    def begin_empty(worker: Worker) -> None:
        worker.mailbox._envelopes.clear()
        begin(worker)

    patch.setattr(Worker, "begin", begin_empty)


def take_after_the_end(patch: pytest.MonkeyPatch) -> None:
    """One that was written off goes on taking messages."""
    patch.setattr(Reader, "ending", property(lambda reader: reader.stop_reason is not None))


@pytest.mark.parametrize("bug", [drop_the_mailbox, take_after_the_end])
def test_a_bug_is_seen(monkeypatch: pytest.MonkeyPatch, bug: Callable[[pytest.MonkeyPatch], None]) -> None:
    bug(monkeypatch)
    with pytest.raises(AssertionError, match="after") as seen:
        explore(16, 1500)
    print(str(seen.value)[:600])
