"""Names: which mailbox, which epoch and which last exit belong to each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pykka

from supervision.errors import MailboxFull, NotAttempted, NotRunning, OutcomeUnknown, UnknownName
from supervision.events import Exited
from supervision.incarnation import Incarnation
from supervision.mailbox import Ask, Envelope, NameMailbox

__all__ = ["Names", "Record"]

_REMEMBERED_EXITS = 1000


class Record:
    """What is kept of a name over all its incarnations."""

    def __init__(self) -> None:
        self.epoch = 0
        self.restarts = 0
        self.mailbox: NameMailbox | None = None
        self.last_exit: Exited | None = None
        self.monitors: list[Callable[[Exited], None]] = []


class Names:
    """Finds the mailbox of a name at each use, so that a message reaches whoever holds the post now.

    Epochs are kept for ever, so that a name that comes back never repeats one; the last exits of names
    that are gone are kept for the latest thousand.
    """

    def __init__(self, full_mailbox_seconds: float) -> None:
        self._full_mailbox_seconds = full_mailbox_seconds
        self._records: dict[str, Record] = {}
        self._departed: dict[str, Exited] = {}
        self.before_waiting: Callable[[], None] | None = None
        """Called between a question and the wait for its answer: a test drives the tree there."""

    def record(self, name: str) -> Record:
        """What is kept of that name."""
        return self._records.setdefault(name, Record())

    def add_mailbox(self, name: str, limit: int) -> NameMailbox:
        """The mailbox of that name, made if there is none."""
        record = self.record(name)
        if record.mailbox is None:
            record.mailbox = NameMailbox(name, limit)
        record.mailbox.limit = limit
        return record.mailbox

    def mailbox(self, name: str) -> NameMailbox:
        """Raises UnknownName."""
        record = self._records.get(name)
        if record is None or record.mailbox is None:
            raise UnknownName(f"nobody is named {name}")
        return record.mailbox

    def forget(self, name: str) -> None:
        """The name is no longer part of the tree."""
        record = self.record(name)
        record.mailbox = None
        if record.last_exit is not None:
            self._departed.pop(name, None)
            self._departed[name] = record.last_exit
            record.last_exit = None
            if len(self._departed) > _REMEMBERED_EXITS:
                del self._departed[next(iter(self._departed))]

    def last_exit(self, name: str) -> Exited | None:
        """The last exit notice under that name."""
        record = self._records.get(name)
        return (record.last_exit if record is not None else None) or self._departed.get(name)

    def waiting(self) -> dict[str, int]:
        """EndKind many messages wait for each name."""
        records = list(self._records.items())
        return {name: len(each.mailbox) for name, each in records if each.mailbox is not None}

    def close(self, why: str) -> dict[str, tuple[Any, ...]]:
        """No name takes messages any more; those that waited, by name."""
        boxes = {name: each.mailbox for name, each in self._records.items() if each.mailbox is not None}
        return {name: left for name, mailbox in boxes.items() if (left := mailbox.refuse(why))}

    def tell_from(self, incarnation: Incarnation, name: str, message: Any) -> None:
        """Sends for that incarnation, waiting a bounded time for room. Raises as Actor.tell."""
        mailbox = self.mailbox(name)
        try:
            mailbox.put(Envelope(message), incarnation)
        except MailboxFull:
            incarnation.waits += 1
            try:
                mailbox.put(Envelope(message), incarnation, self._full_mailbox_seconds)
            finally:
                incarnation.waits -= 1

    def ask(self, name: str, message: Any, timeout_seconds: float) -> Any:
        """Sends a question and waits for its answer. Raises as System.ask."""
        mailbox = self.mailbox(name)
        future: Ask = pykka.ThreadingFuture()
        envelope = Envelope(message, reply_to=future)
        try:
            mailbox.put(envelope)
        except (NotRunning, MailboxFull) as error:
            raise NotAttempted(str(error)) from error
        if self.before_waiting is not None:
            self.before_waiting()
        try:
            return future.get(timeout=timeout_seconds)
        except pykka.Timeout:
            if mailbox.withdraw(envelope):
                raise NotAttempted(f"{name} did not come to it in {timeout_seconds:g} s") from None
            raise OutcomeUnknown(f"{name} gave no answer in {timeout_seconds:g} s") from None
