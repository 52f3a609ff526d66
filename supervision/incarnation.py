"""One incarnation of a worker: from its factory to its one exit notice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from supervision.errors import AskFailed, Decline, NotRunning, OutcomeUnknown, SpecError
from supervision.mailbox import Envelope, NameMailbox, settle, settle_error
from supervision.reasons import Crashed, Declined, FailedToStart, Reason, Shutdown, StopFailed, detached
from supervision.stacks import stack_of
from supervision.timers import Timer

if TYPE_CHECKING:
    from supervision.actor import Actor

__all__ = ["Incarnation", "Kernel", "StartThread", "birth", "start_thread"]


class Kernel(Protocol):
    """What an incarnation needs of the system it runs in."""

    def incarnation_up(self, incarnation: Incarnation) -> None:
        """Its start code has ended well."""

    def incarnation_ended(self, incarnation: Incarnation) -> None:
        """Its thread does nothing more."""

    def tell_from(self, incarnation: Incarnation, name: str, message: Any) -> None:
        """Puts a message into the mailbox of a name."""

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Calls the action from the kernel's thread when the time has come."""


class _Birth(threading.local):
    incarnation: Incarnation | None = None


birth = _Birth()
"""Tells an actor's constructor, in its own thread, which incarnation it is made for."""


class Incarnation:
    """Runs an actor in a thread of its own and catches whatever ends it.

    Written by its thread and looked at by the kernel's without a lock: `serial` (odd while at work),
    `waits` (above 0 while that work is waiting) and `in_hand`.
    """

    def __init__(
        self, name: str, epoch: int, factory: Callable[[], Actor], mailbox: NameMailbox, kernel: Kernel
    ) -> None:
        self.name = name
        self.epoch = epoch
        self.mailbox = mailbox
        self.kernel = kernel
        self.fenced = False
        self.stop_reason: Reason | None = None
        self.reason: Reason | None = None
        self.serial = 0
        self.waits = 0
        self.in_hand: list[Envelope[Any]] = []
        self.thread: threading.Thread | None = None
        self._factory = factory
        self._actor: Actor | None = None
        self._unblockers: list[Callable[[], object]] = []
        self._timers: set[Timer] = set()

    # What its thread does.

    def run(self) -> None:
        """The whole incarnation, from begin to close."""
        try:
            if self.begin():
                while self.turn():
                    pass
        finally:
            self.close()

    def begin(self) -> bool:
        """Makes the actor and runs its start code; whether that ended well."""
        self.serial += 1
        birth.incarnation = self
        try:
            actor = self._factory()
            if getattr(actor, "_incarnation", None) is not self:
                raise SpecError(f"{self.name}: the factory must make a new Actor, not {actor!r}")
            actor.on_start()
            self._actor = actor
        except Decline as error:
            self.reason = Declined(str(error))
            return False
        except BaseException as error:  # noqa: BLE001 - whatever it is, it ends this incarnation and no other
            self.reason = FailedToStart(*detached(error))
            return False
        finally:
            birth.incarnation = None
        self.serial += 1
        self.kernel.incarnation_up(self)
        return True

    def turn(self, block: bool = True) -> bool:
        """Handles one message; whether there may be another one."""
        envelope = self.mailbox.next_for(self, block)
        if envelope is None:
            return not block and not self.ending
        self.serial += 1
        assert self._actor is not None
        try:
            reply = self._actor.handle(envelope.message)
        except BaseException as error:  # noqa: BLE001 - SystemExit in one actor must not reach the others
            if envelope.reply_to is not None:
                failure = AskFailed(f"{self.name} raised {type(error).__name__}: {error}")
                failure.__cause__ = error
                settle_error(envelope.reply_to, failure)
            self.reason = Crashed(*detached(error))
            return False
        if envelope.reply_to is not None:
            settle(envelope.reply_to, reply)
        del envelope, reply
        self.in_hand.clear()
        self.serial += 1
        return True

    def close(self) -> None:
        """Runs the stop code of an actor that had started, and gives the exit notice."""
        self.serial += 1 - self.serial % 2
        actor, self._actor = self._actor, None
        if actor is not None:
            try:
                actor.on_stop()
            except BaseException as error:  # noqa: BLE001 - a failure in stop is a reason like any other
                self.reason = self.reason or StopFailed(*detached(error))
            actor.actor_stopped.set()
        self.reason = self.reason or self.stop_reason or Shutdown()
        self.kernel.incarnation_ended(self)

    # What others ask of it.

    @property
    def ending(self) -> bool:
        """Told to stop, or fenced: it takes no further message."""
        return self.stop_reason is not None or self.fenced

    def stop(self, reason: Reason) -> None:
        """Ends it after the message in hand."""
        self.stop_reason = self.stop_reason or reason
        self.mailbox.wake()

    def fence(self) -> None:
        """From now on nothing that it sends is taken, and its timers are gone."""
        self.fenced = True
        while self._timers:
            self._timers.pop().cancel()
        self.mailbox.wake()

    def unblock(self) -> None:
        """Calls what the actor registered to be freed from where it is stuck."""
        for free in self._unblockers:
            try:
                free()
            except Exception:  # noqa: BLE001 - it is a help to a thread that is lost already
                continue

    def messages_in_hand(self) -> tuple[Any, ...]:
        """What it works on at this moment."""
        return tuple(envelope.message for envelope in tuple(self.in_hand))

    def settle_unknown(self) -> None:
        """Tells those whose question is in hand that nobody knows what becomes of it."""
        for envelope in tuple(self.in_hand):
            if envelope.reply_to is not None:
                settle_error(envelope.reply_to, OutcomeUnknown(f"{self.name} was written off with it in hand"))

    def stack(self) -> str:
        """Where its thread stands."""
        return stack_of(self.thread)

    def join(self, timeout_seconds: float) -> None:
        """Waits for the thread's last instructions after its notice."""
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join(timeout_seconds)

    # What its actor asks of it.

    def put_own(self, envelope: Envelope[Any]) -> None:
        """Puts a timer's envelope into its own mailbox; nothing happens once it is over."""
        if not self.ending:
            with suppress(NotRunning):
                self.mailbox.put(envelope, beyond_limit=True)

    def call_after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """A timer that is gone when this incarnation is over; the action runs in the kernel's thread."""

        def ring() -> None:
            self._timers.discard(timer)
            action()

        timer = self.kernel.after(seconds, ring)
        self._timers.add(timer)
        if self.fenced:
            timer.cancel()
        return timer

    def add_unblocker(self, free: Callable[[], object]) -> None:
        """Keeps a callable for `unblock`."""
        self._unblockers.append(free)


StartThread = Callable[[Incarnation], None]


def start_thread(incarnation: Incarnation) -> None:
    """Runs the incarnation in a daemon thread, so that a stuck one never keeps the process from ending.

    Raises RuntimeError if the machine refuses the thread.
    """
    incarnation.thread = threading.Thread(
        target=incarnation.run, name=f"{incarnation.name}#{incarnation.epoch}", daemon=True
    )
    incarnation.thread.start()
