"""The mailbox of a name. It outlives the incarnations that read from it."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Full
from typing import Any

import pykka
from pykka._envelope import Envelope as Envelope
from pykka.messages import _ActorStop

from supervision.errors import Fenced, MailboxFull, NotAttempted, NotRunning
from supervision.reasons import Reason


@dataclass(eq=False)
class Reader:
    """The part of an incarnation that mailboxes work with; `in_hand` are the envelopes that it works on."""

    name: str
    epoch: int
    fenced: bool = False
    stop_reason: Reason | None = None
    in_hand: list[Envelope[Any]] = field(default_factory=list)

    @property
    def ending(self) -> bool:
        """Told to stop, or fenced: it takes no further message."""
        return self.stop_reason is not None or self.fenced


class NameMailbox:
    """A bounded queue with many senders and one reader. It stands in for pykka's inbox (`put`, `get`, `empty`).

    A message is in the mailbox, in a reader's hand, or still with its sender.
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
        self, envelope: Envelope[Any], /, sender: Reader | None = None, wait_seconds: float = 0.0, limited: bool = True
    ) -> None:
        """Takes the envelope, after at most `wait_seconds` for room. Raises Fenced, NotRunning or MailboxFull."""
        with self._lock:
            self._admit(sender)
            if wait_seconds > 0:
                self._room.wait_for(lambda: self._refusal or len(self._envelopes) < self.limit, wait_seconds)
                self._admit(sender)
            if limited and len(self._envelopes) >= self.limit:
                raise MailboxFull(f"{self.limit} messages wait for {self.name}")
            self._envelopes.append(envelope)
            self._arrived.notify()

    def _admit(self, sender: Reader | None) -> None:
        if sender is not None and sender.fenced:
            raise Fenced(f"{sender.name} (epoch {sender.epoch}) is over")
        if self._refusal is not None:
            raise NotRunning(f"{self.name} {self._refusal}")

    def next_for(self, reader: Reader, block: bool = True) -> Envelope[Any] | None:
        """Puts the next envelope into the reader's hand. None when the reader is ending, or nothing waits now."""
        with self._lock:
            while block and not self._envelopes and not reader.ending:
                self._arrived.wait()
            if reader.ending or not self._envelopes:
                return None
            envelope = self._envelopes.popleft()
            reader.in_hand.append(envelope)
            self._room.notify()
            return envelope

    def more_for(self, reader: Reader, limit: int) -> list[Any]:
        """Puts up to `limit` more told messages into the reader's hand, without waiting; never a question."""
        taken: list[Any] = []
        with self._lock:
            while len(taken) < limit and not reader.ending and self._envelopes:
                envelope = self._envelopes[0]
                if envelope.reply_to is not None or isinstance(envelope.message, _ActorStop):
                    break
                reader.in_hand.append(self._envelopes.popleft())
                taken.append(envelope.message)
            self._room.notify(len(taken))
        return taken

    def wake(self) -> None:
        """Makes a waiting reader check whether it is ending."""
        with self._lock:
            self._arrived.notify_all()

    def open(self) -> None:
        """Takes messages from now on."""
        with self._lock:
            self._refusal = None

    def refuse(self, why: str) -> tuple[Any, ...]:
        """Takes no messages from now on. Returns those that waited; their askers get NotAttempted."""
        with self._lock:
            self._refusal = why
            left = tuple(self._envelopes)
            self._envelopes.clear()
            self._room.notify_all()
        for envelope in left:
            settle(envelope.reply_to, error=NotAttempted(f"{self.name} {why}"))
        return tuple(envelope.message for envelope in left)

    def withdraw(self, envelope: Envelope[Any]) -> bool:
        """Removes an envelope that no reader has taken; False if it is no longer here."""
        with self._lock:
            found = envelope in self._envelopes
            if found:
                self._envelopes.remove(envelope)
                self._room.notify()
            return found

    def holds(self, envelope: Envelope[Any]) -> bool:
        """Whether that very envelope still waits."""
        with self._lock:
            return envelope in self._envelopes

    def get(self) -> Envelope[Any]:
        """Part of pykka's inbox protocol. Raises TypeError: only the incarnation reads."""
        raise TypeError("a supervised actor's mailbox is read by its incarnation alone")

    def empty(self) -> bool:
        return not self._envelopes

    def __len__(self) -> int:
        return len(self._envelopes)


def settle(question: pykka.Future[Any] | None, value: object = None, error: BaseException | None = None) -> None:
    """Answers a question. Does nothing if there is none, or it has an answer."""
    if question is not None:
        with suppress(Full):
            if error is None:
                question.set(value)
            else:
                question.set_exception((type(error), error, None))
