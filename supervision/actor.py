"""Supervised actors: the base class, and the incarnation that runs one in a thread."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import pykka

from supervision.errors import AskFailed, Decline, Fenced, MailboxFull, NotRunning, SpecError, SupervisionError
from supervision.kernel import Kernel
from supervision.mailbox import Envelope, NameMailbox, Reader, settle
from supervision.reasons import Crashed, Declined, FailedToStart, Normal, Reason, Shutdown, StopFailed, detached
from supervision.spec import ChildSpec
from supervision.timers import Timer

_UNSUPERVISED = NameMailbox("an actor that is not supervised", 1)
"""The inbox of every actor between constructor and `on_start`: it refuses messages."""


class Actor(pykka.ThreadingActor):
    """An actor under supervision: override `on_start`, `on_receive` and `on_stop`.

    It is what OTP calls a `gen_server`, with these promises:

    - When `on_start` ends well, the actor is up. Raising there is a failed start; raising Decline is OTP's `ignore`.
    - It handles one message at a time. Whatever `on_receive` raises, under `ask` too and SystemExit
      included, ends this incarnation and no other actor. Its supervisor starts the next one.
    - `on_stop` runs at every end of an incarnation that had started, after a crash too, as OTP's `terminate`.
    - Messages stay in the name's mailbox. The one in hand at a crash is not delivered again.

    Its ChildSpec's factory makes it, in its own thread; it has a name and an epoch from `on_start` on. Where it
    differs from OTP: a thread can't be killed. One that is stuck is fenced, left behind, and can't send any more.
    """

    use_daemon_thread = True
    _incarnation: Incarnation | None = None

    @staticmethod
    def _create_actor_inbox() -> NameMailbox:
        return _UNSUPERVISED

    def _bind(self, incarnation: Incarnation) -> None:
        self._incarnation = incarnation
        self.actor_inbox = incarnation.mailbox
        self._actor_ref = pykka.ActorRef(self)

    @classmethod
    def start(cls, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Raises SupervisionError: pykka would start an actor without a supervisor, in its global registry."""
        raise SupervisionError("a supervised actor is started by its supervisor")

    def _stop(self) -> None:  # pykka calls it for its own stop message
        self.stop()

    @property
    def _bound(self) -> Incarnation:
        if self._incarnation is None:
            raise SupervisionError(f"{type(self).__name__} is not supervised")
        return self._incarnation

    @property
    def name(self) -> str:
        return self._bound.name

    @property
    def epoch(self) -> int:
        """The number of this incarnation under its name, growing from 1."""
        return self._bound.epoch

    @property
    def fenced(self) -> bool:
        """Whether this incarnation has ended or was written off."""
        return self._bound.fenced

    @property
    def stopping(self) -> bool:
        """Whether it has been told to stop, or is fenced: it should leave work that can wait."""
        return self._bound.ending

    def tell(self, name: str, message: Any) -> None:
        """Sends a message to the present or next incarnation of that name.

        Waits a bounded time if the mailbox is full (this does not count as hanging).
        Raises Fenced, UnknownName, NotRunning, MailboxFull.
        """
        incarnation, kernel = self._bound, self._bound.kernel
        try:
            kernel.tell(incarnation, name, message)
        except MailboxFull:
            with self.waiting():
                kernel.tell(incarnation, name, message, kernel.full_mailbox_seconds)

    def after(self, seconds: float, message: Any) -> Timer:
        """Sends itself a message once, after that time, unless the timer is cancelled. Raises Fenced."""
        return self._bound.send_after(seconds, message)

    def every(self, seconds: float, message: Any) -> Timer:
        """Sends itself a message after every so many seconds, unless the last one still waits. Raises Fenced."""
        return self._bound.send_after(seconds, message, repeat=True)

    def take_waiting(self, limit: int) -> list[Any]:
        """Up to `limit` more told messages that wait, at once. They count as in hand until the handler ends."""
        return self._bound.mailbox.more_for(self._bound, limit)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The time inside does not count as hanging."""
        incarnation = self._bound
        incarnation.waits += 1
        try:
            yield
        finally:
            incarnation.waits -= 1

    def sign_of_life(self) -> None:
        """Says that the message in hand makes progress: the time after which it counts as hanging begins anew."""
        self._bound.serial += 2

    def on_unblock(self, unblock: Callable[[], object]) -> None:
        """Registers what frees this actor where it may be stuck, as shutting its socket down; it must not block.

        The kernel's thread calls it when this incarnation is told to stop and doesn't, or is written off.
        """
        self._bound.unblockers.append(unblock)

    def stop(self, reason: Reason | None = None) -> None:
        """Ends this incarnation after the present message; `Normal` if no reason is given."""
        self._bound.stop(reason or Normal())


class Incarnation(Reader):
    """Runs one actor in one thread, from its factory to its exit, and catches whatever ends it.

    Its thread writes, and the kernel's thread reads without a lock: `serial` (odd while it handles a message),
    `waits` (above 0 while that handler only waits) and `in_hand`. The kernel's thread calls `on_up` and `on_end`.
    """

    def __init__(self, spec: ChildSpec, epoch: int, kernel: Kernel, on_up: Report, on_end: Report) -> None:
        super().__init__(spec.name, epoch)
        self.kernel = kernel
        self.mailbox = kernel.mailbox(spec.name)
        self.reason: Reason | None = None
        self.serial = 0
        self.waits = 0
        self.thread: threading.Thread | None = None
        self.unblockers: list[Callable[[], object]] = []
        self._factory = spec.factory
        self._on_up = on_up
        self._on_end = on_end
        self._actor: Actor | None = None
        self._timers: list[Timer] = []

    # In its own thread.

    def run(self) -> None:
        try:
            if self.begin():
                while (envelope := self.mailbox.next_for(self)) is not None and self.handle(envelope):
                    del envelope  # a message must not live on while the next one is waited for
        finally:
            self.close()

    def make(self) -> Actor:
        """A new actor that belongs to this incarnation. Raises SpecError."""
        actor = self._factory()
        if not isinstance(actor, Actor) or actor._incarnation is not None:
            raise SpecError(f"{self.name}: the factory must make a new Actor, not {actor!r}")
        actor._bind(self)
        return actor

    def begin(self) -> bool:
        """Makes the actor and runs its start code; whether that ended well."""
        self.serial += 1
        try:
            actor = self.make()
            actor.on_start()
        except Decline as error:
            self.reason = Declined(str(error))
            return False
        except BaseException as error:  # noqa: BLE001 - whatever it is, it ends this incarnation and no other
            self.reason = FailedToStart(*detached(error))
            return False
        self._actor = actor
        self.serial += 1
        self.kernel.post(lambda: self._on_up(self))
        return True

    def handle(self, envelope: Envelope[Any]) -> bool:
        """Handles a message that is in hand; whether it may take another one."""
        self.serial += 1
        assert self._actor is not None
        try:
            reply = self._actor._handle_receive(envelope.message)
        except BaseException as error:  # noqa: BLE001 - SystemExit in one actor must not reach the others
            failure = AskFailed(f"{self.name} raised {type(error).__name__}: {error}")
            failure.__cause__ = error
            settle(envelope.reply_to, error=failure)
            self.reason = Crashed(*detached(error))
            return False
        settle(envelope.reply_to, reply)
        self.in_hand.clear()
        self.serial += 1
        return True

    def close(self) -> None:
        """Runs the stop code of an actor that had started, and reports the end."""
        self.serial += 1 - self.serial % 2
        actor, self._actor = self._actor, None
        if actor is not None:
            try:
                actor.on_stop()
            except BaseException as error:  # noqa: BLE001 - a failure in stop is a reason like any other
                self.reason = self.reason or StopFailed(*detached(error))
            actor.actor_stopped.set()
        self.reason = self.reason or self.stop_reason or Shutdown()
        self.kernel.post(lambda: self._on_end(self))

    # In any thread.

    def stop(self, reason: Reason) -> None:
        """Ends it after the message in hand."""
        self.stop_reason = self.stop_reason or reason
        self.mailbox.wake()

    def send_after(self, seconds: float, message: Any, repeat: bool = False) -> Timer:
        """A timer that sends its actor a message, and ends with this incarnation. Raises Fenced."""
        if self.fenced:
            raise Fenced(f"{self.name} (epoch {self.epoch}) is over")
        envelope = Envelope(message)

        def send() -> None:
            if not self.ending and not (repeat and self.mailbox.holds(envelope)):
                with suppress(NotRunning):
                    self.mailbox.put(envelope, limited=False)

        timer = self.kernel.after(seconds, send, repeat)
        self._timers = [each for each in self._timers if each.pending] + [timer]
        if self.fenced:  # since the check above: `fence` may have read the list without this timer
            timer.cancel()
        return timer

    # In the kernel's thread.

    def fence(self) -> None:
        """Refuses from now on what it sends, and cancels its timers."""
        self.fenced = True
        for timer in self._timers:
            timer.cancel()
        self.mailbox.wake()

    def unblock(self) -> None:
        """Calls what its actor registered with `on_unblock`."""
        for unblock in self.unblockers:
            with suppress(Exception):  # it is a help to a thread that is lost already
                unblock()

    def stack(self) -> str:
        """The stack of its thread as text; empty if that doesn't run."""
        frame = sys._current_frames().get(self.thread.ident or 0) if self.thread else None
        return "".join(traceback.format_stack(frame)) if frame else ""


Report = Callable[[Incarnation], None]
StartThread = Callable[[Incarnation], None]


def start_thread(incarnation: Incarnation) -> None:
    """Runs it in a daemon thread: a stuck one must let the process end. Raises RuntimeError if there is no thread."""
    name = f"{incarnation.name}#{incarnation.epoch}"
    incarnation.thread = threading.Thread(target=incarnation.run, name=name, daemon=True)
    incarnation.thread.start()


def dump_stacks() -> str:
    """The stacks of all threads, each under its name: for SIGUSR1."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    stacks = {ident: "".join(traceback.format_stack(frame)) for ident, frame in sorted(sys._current_frames().items())}
    return "\n".join(f"--- {names.get(ident, 'unknown')} ({ident})\n{stack}" for ident, stack in stacks.items())
