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
    from supervision.life import Life

__all__ = ["Ask", "Letter", "NameMailbox", "settle", "settle_error"]

Letter = Envelope[Any]
Ask = ThreadingFuture[Any]


class NameMailbox:
    """Bounded, of many senders and one reader; a message is in it, in a reader's hand, or with its sender.

    It stands in for pykka's inbox (`put`, `get`, `empty`).
    """

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self._letters: deque[Letter] = deque()
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._refusal: str | None = "has not been started"

    def put(
        self, letter: Letter, /, sender: Life | None = None, wait_seconds: float = 0.0, beyond_limit: bool = False
    ) -> None:
        """Takes the letter, after waiting at most `wait_seconds` for room.

        Raises Fenced (the sender's life is over), NotRunning or MailboxFull.
        """
        with self._lock:
            self._admit(sender)
            if len(self._letters) >= self.limit and not beyond_limit:
                if wait_seconds > 0:
                    self._room.wait_for(self._roomy, wait_seconds)
                    self._admit(sender)
                if len(self._letters) >= self.limit:
                    raise MailboxFull(f"{self.limit} messages wait for {self.name}")
            self._letters.append(letter)
            self._arrived.notify()

    def _admit(self, sender: Life | None) -> None:
        if sender is not None and sender.fenced:
            raise Fenced(f"{sender.name} (epoch {sender.epoch}) is over")
        if self._refusal is not None:
            raise NotRunning(f"{self.name} {self._refusal}")

    def _roomy(self) -> bool:
        return len(self._letters) < self.limit or self._refusal is not None

    def next_for(self, life: Life, block: bool = True, only: type = object) -> Letter | None:
        """Puts the next letter into that life's hand.

        None when it is over or told to stop; if it is not to block, also when none waits, or the next
        one's message is not of the class `only`.
        """
        with self._lock:
            while not life.ending:
                if self._letters and isinstance(self._letters[0].message, only):
                    letter = self._letters.popleft()
                    life.in_hand.append(letter)
                    self._room.notify()
                    return letter
                if not block:
                    return None
                self._arrived.wait()
            return None

    def more_for(self, life: Life, limit: int) -> list[Any]:
        """Puts up to `limit` more told messages into that life's hand, without waiting; never a question."""
        taken: list[Any] = []
        with self._lock:
            while len(taken) < limit and not life.ending and self._letters:
                letter = self._letters[0]
                if letter.reply_to is not None or isinstance(letter.message, _ActorStop):
                    break
                life.in_hand.append(self._letters.popleft())
                taken.append(letter.message)
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
            left = tuple(self._letters)
            self._letters.clear()
            self._room.notify_all()
        for letter in left:
            if letter.reply_to is not None:
                settle_error(letter.reply_to, NotAttempted(f"{self.name} {why}"))
        return tuple(letter.message for letter in left)

    def withdraw(self, letter: Letter) -> bool:
        """Takes a letter back that nobody has begun; False if it is no longer here."""
        with self._lock:
            for index, each in enumerate(self._letters):
                if each is letter:
                    del self._letters[index]
                    self._room.notify()
                    return True
        return False

    def holds(self, letter: Letter) -> bool:
        """Whether that very letter still waits."""
        with self._lock:
            return any(each is letter for each in self._letters)

    def get(self) -> Letter:
        """Part of pykka's inbox protocol; only a supervised life may read."""
        raise TypeError("a supervised actor's mailbox is read by its life alone")

    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._letters

    def __len__(self) -> int:
        return len(self._letters)


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
