"""The base class of supervised actors, on pykka's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pykka
from pykka.messages import _ActorStop

from supervision.errors import Fenced, SupervisionError
from supervision.incarnation import Incarnation, birth
from supervision.mailbox import Envelope, NameMailbox
from supervision.reasons import Normal, Reason
from supervision.timers import Timer

__all__ = ["Actor", "PeriodicTimer"]


class PeriodicTimer:
    """A beat that an actor tells itself again and again; a beat is skipped while the last one still waits."""

    def __init__(self, incarnation: Incarnation, seconds: float, message: Any) -> None:
        self._incarnation = incarnation
        self._seconds = seconds
        self._cancelled = False
        self._timer: Timer | None = None
        self._envelope = Envelope(message)
        self._arm()

    def _arm(self) -> None:
        if not self._cancelled and not self._incarnation.ending:
            self._timer = self._incarnation.call_after(self._seconds, self._beat)

    def _beat(self) -> None:
        if not self._cancelled:
            if not self._incarnation.mailbox.holds(self._envelope):
                self._incarnation.put_own(self._envelope)
            self._arm()

    def cancel(self) -> None:
        """No further beat is sent; one that waits already is still delivered."""
        self._cancelled = True
        if self._timer is not None:
            self._timer.cancel()


class Actor(pykka.ThreadingActor):
    """An actor under supervision: override `on_start`, `on_receive` and `on_stop`.

    In OTP's words a `gen_server`, with these promises:

    - `on_start` ends well, then it is up; raising there is a failed start, raising Decline is OTP's `ignore`.
    - One message at a time. Whatever is raised out of `on_receive`, under `ask` too and SystemExit
      included, ends this incarnation and no other actor; its supervisor starts the next one.
    - `on_stop` runs at every end of one that had started, after a crash too, as OTP's `terminate`.
    - Messages stay in the name's mailbox; the one in hand at a crash is not delivered again.

    It is made by the factory of its ChildSpec, in its own thread. Where it differs from OTP: a thread
    can't be killed, so one that is stuck is fenced and left behind, its `tell` raising Fenced.
    """

    use_daemon_thread = True

    def __init__(self) -> None:
        self._incarnation = birth.incarnation
        super().__init__()

    @staticmethod
    def _create_actor_inbox() -> Any:
        return birth.incarnation.mailbox if birth.incarnation is not None else NameMailbox("unsupervised", 1)

    @classmethod
    def start(cls, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Not here: it would be an actor that nobody supervises, in pykka's global registry."""
        raise SupervisionError("a supervised actor is started by its supervisor")

    def handle(self, message: Any) -> Any:
        """Handles one message, pykka's proxy calls and stop included."""
        if isinstance(message, _ActorStop):
            return self.stop()
        return self._handle_receive(message)

    @property
    def _bound(self) -> Incarnation:
        if self._incarnation is None:
            raise SupervisionError(f"{type(self).__name__} is not supervised")
        return self._incarnation

    @property
    def name(self) -> str:
        """The name of the post that it holds."""
        return self._bound.name

    @property
    def epoch(self) -> int:
        """The number of its incarnation under that name, growing."""
        return self._bound.epoch

    @property
    def fenced(self) -> bool:
        """Whether this incarnation is over: ended, or written off."""
        return self._bound.fenced

    @property
    def stopping(self) -> bool:
        """Whether it has been told to stop (or is over): what can be left, should be left."""
        return self._bound.ending

    def tell(self, name: str, message: Any) -> None:
        """Sends a message to whoever holds the post of that name, now or next.

        Waits a bounded time if the mailbox is full (reported as waiting).
        Raises Fenced, UnknownName, NotRunning, MailboxFull.
        """
        incarnation = self._bound
        incarnation.kernel.tell_from(incarnation, name, message)

    def after(self, seconds: float, message: Any) -> Timer:
        """Tells itself once, in that many seconds, unless the timer is cancelled. Raises Fenced."""
        self._refuse_if_fenced()
        incarnation = self._bound
        return incarnation.call_after(seconds, lambda: incarnation.put_own(Envelope(message)))

    def every(self, seconds: float, message: Any) -> PeriodicTimer:
        """Tells itself every so many seconds, first after one interval. Raises Fenced."""
        self._refuse_if_fenced()
        return PeriodicTimer(self._bound, seconds, message)

    def take_waiting(self, limit: int) -> list[Any]:
        """Up to `limit` more told messages that wait, at once; they count as in hand until the handler ends."""
        incarnation = self._bound
        return incarnation.mailbox.more_for(incarnation, limit)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The time inside is waiting, not hanging."""
        incarnation = self._bound
        incarnation.waits += 1
        try:
            yield
        finally:
            incarnation.waits -= 1

    def on_unblock(self, free: Callable[[], object]) -> None:
        """Registers what frees it where it may be stuck, as shutting its socket down.

        Called from the supervisor's thread when this incarnation is told to stop and doesn't, or is
        written off; it must not block.
        """
        self._bound.add_unblocker(free)

    def stop(self, reason: Reason | None = None) -> None:
        """Ends this incarnation after the present message; `Normal` if no reason is given."""
        self._bound.stop(reason or Normal())

    def _refuse_if_fenced(self) -> None:
        if self.fenced:
            raise Fenced(f"{self.name} (epoch {self.epoch}) is over")
