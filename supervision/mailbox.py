"""The mailbox of a name: it outlives the incarnations that read from it."""

from __future__ import annotations

import threading
from collections import deque
from queue import Full
from typing import TYPE_CHECKING, Any

from pykka import ThreadingFuture
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from supervision.errors import Fenced, MailboxFull, NotAttempted, NotRunning

if TYPE_CHECKING:
    from supervision.incarnation import Incarnation

__all__ = ["Ask", "Envelope", "NameMailbox", "settle", "settle_error"]


Ask = ThreadingFuture[Any]


class NameMailbox:
    """Bounded, of many senders and one reader; a message is in it, in a reader's hand, or with its sender.

    It stands in for pykka's inbox (`put`, `get`, `empty`).
    """

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self._envelopes: deque[Envelope[Any]] = deque()
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._refusal: str | None = "has not been started"

    def put(
        self,
        envelope: Envelope[Any],
        /,
        sender: Incarnation | None = None,
        wait_seconds: float = 0.0,
        beyond_limit: bool = False,
    ) -> None:
        """Takes the envelope, after waiting at most `wait_seconds` for room.

        Raises Fenced (the sender's incarnation is over), NotRunning or MailboxFull.
        """
        with self._lock:
            self._admit(sender)
            if len(self._envelopes) >= self.limit and not beyond_limit:
                if wait_seconds > 0:
                    self._room.wait_for(self._roomy, wait_seconds)
                    self._admit(sender)
                if len(self._envelopes) >= self.limit:
                    raise MailboxFull(f"{self.limit} messages wait for {self.name}")
            self._envelopes.append(envelope)
            self._arrived.notify()

    def _admit(self, sender: Incarnation | None) -> None:
        if sender is not None and sender.fenced:
            raise Fenced(f"{sender.name} (epoch {sender.epoch}) is over")
        if self._refusal is not None:
            raise NotRunning(f"{self.name} {self._refusal}")

    def _roomy(self) -> bool:
        return len(self._envelopes) < self.limit or self._refusal is not None

    def next_for(self, incarnation: Incarnation, block: bool = True, only: type = object) -> Envelope[Any] | None:
        """Puts the next envelope into that incarnation's hand.

        None when it is over or told to stop; if it is not to block, also when none waits, or the next
        one's message is not of the class `only`.
        """
        with self._lock:
            while not incarnation.ending:
                if self._envelopes and isinstance(self._envelopes[0].message, only):
                    envelope = self._envelopes.popleft()
                    incarnation.in_hand.append(envelope)
                    self._room.notify()
                    return envelope
                if not block:
                    return None
                self._arrived.wait()
            return None

    def more_for(self, incarnation: Incarnation, limit: int) -> list[Any]:
        """Puts up to `limit` more told messages into that incarnation's hand, without waiting; never a question."""
        taken: list[Any] = []
        with self._lock:
            while len(taken) < limit and not incarnation.ending and self._envelopes:
                envelope = self._envelopes[0]
                if envelope.reply_to is not None or isinstance(envelope.message, _ActorStop):
                    break
                incarnation.in_hand.append(self._envelopes.popleft())
                taken.append(envelope.message)
            self._room.notify(len(taken))
        return taken

    def wake(self) -> None:
        """Makes a waiting reader look whether it is told to stop."""
        with self._lock:
            self._arrived.notify_all()

    def open(self) -> None:
        """Takes messages from now on."""
        with self._lock:
            self._refusal = None

    def refuse(self, why: str) -> tuple[Any, ...]:
        """Takes none from now on; what waited is handed back, its askers told that nothing was attempted."""
        with self._lock:
            self._refusal = why
            left = tuple(self._envelopes)
            self._envelopes.clear()
            self._room.notify_all()
        for envelope in left:
            if envelope.reply_to is not None:
                settle_error(envelope.reply_to, NotAttempted(f"{self.name} {why}"))
        return tuple(envelope.message for envelope in left)

    def withdraw(self, envelope: Envelope[Any]) -> bool:
        """Takes a envelope back that nobody has begun; False if it is no longer here."""
        with self._lock:
            for index, each in enumerate(self._envelopes):
                if each is envelope:
                    del self._envelopes[index]
                    self._room.notify()
                    return True
        return False

    def holds(self, envelope: Envelope[Any]) -> bool:
        """Whether that very envelope still waits."""
        with self._lock:
            return any(each is envelope for each in self._envelopes)

    def get(self) -> Envelope[Any]:
        """Part of pykka's inbox protocol; only a supervised incarnation may read."""
        raise TypeError("a supervised actor's mailbox is read by its incarnation alone")

    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._envelopes

    def __len__(self) -> int:
        return len(self._envelopes)


def settle(ask: Any, value: object) -> None:
    """Answers a question, unless it has an answer already."""
    try:
        ask.set(value)
    except Full:
        return


def settle_error(ask: Any, error: BaseException) -> None:
    """Answers a question with an error, unless it has an answer already."""
    try:
        ask.set_exception((type(error), error, None))
    except Full:
        return
