"""A worker as its supervisor sees it: starts, stops, hangs and writes off its incarnations."""

from __future__ import annotations

from supervision.events import Exited, Started, Undelivered
from supervision.incarnation import Incarnation, Kernel
from supervision.node import Core, Node, State
from supervision.reasons import Abandoned, Hung, Reason, Shutdown, StartOverdue, ThreadNotStarted, detached
from supervision.restarts import Window
from supervision.spec import ChildSpec, Mailbox

__all__ = ["Worker"]

_LAST_INSTRUCTIONS_SECONDS = 1.0


class Worker(Node):
    """The one who holds a post; its mailbox is the name's and outlives it."""

    spec: ChildSpec

    def __init__(self, spec: ChildSpec, core: Core, parent: object, kernel: Kernel) -> None:
        super().__init__(spec, core, parent)  # type: ignore[arg-type]
        self._kernel = kernel
        self.incarnation: Incarnation | None = None
        self._late_seconds = 0.0
        self._serial = 0
        self._unblocked = False
        if spec.max_restarts is not None:
            self.budget = Window(spec.max_restarts, spec.window_seconds)
        self.mailbox = core.add_mailbox(spec.name, spec.mailbox_limit)
        if spec.while_down is Mailbox.KEEP:
            self.mailbox.open()

    def begin(self) -> None:
        """Starts a new incarnation in a thread of its own."""
        self.mailbox.open()
        incarnation = Incarnation(
            self.name, self.core.record(self.name).epoch, self.spec.factory, self.mailbox, self._kernel
        )
        self.incarnation = incarnation
        self._reset_lateness()
        self.core.watch(self, incarnation)
        try:
            self.core.start_thread(incarnation)
        except Exception as error:  # noqa: BLE001 - whatever refuses the thread, the child is not up
            incarnation.thread = None
            self._over(incarnation, ThreadNotStarted(*detached(error)))

    def halt(self) -> None:
        """Tells the incarnation to stop after the message in hand; without any grace it is abandoned at once."""
        assert self.incarnation is not None, "only what runs is told to stop"
        self._reset_lateness()
        self.incarnation.stop(Shutdown())
        if self.spec.shutdown_seconds == 0:
            self.abandon(Abandoned(0.0, self.incarnation.stack()))

    def incarnation_up(self) -> None:
        """The start handshake; one that is being stopped already is not up any more."""
        if self.incarnation is not None and self.state is State.STARTING:
            self._reset_lateness()
            self.core.emit(Started(self.name, self.incarnation.epoch))
            self.went_up()

    def incarnation_ended(self) -> None:
        """The exit notice."""
        incarnation = self.incarnation
        if incarnation is not None:
            incarnation.join(_LAST_INSTRUCTIONS_SECONDS)
            self._over(incarnation, incarnation.reason or Shutdown())

    def tick(self, seconds: float) -> None:
        """The supervisor ran for that long by its own count: who is late?"""
        incarnation = self.incarnation
        if incarnation is None:
            return
        self._late_seconds += seconds
        if self.state is State.STARTING:
            if self._late_seconds > self.spec.start_seconds:
                self.abandon(StartOverdue(self._late_seconds, incarnation.stack()))
        elif self.state is State.STOPPING:
            budget = min(self.spec.shutdown_seconds, self.core.grace_seconds)
            if not self._unblocked and self._late_seconds >= budget / 2:
                self._unblocked = True
                incarnation.unblock()
            if self._late_seconds >= budget:
                self.abandon(Abandoned(self._late_seconds, incarnation.stack()))
        elif incarnation.serial != self._serial or incarnation.serial % 2 == 0 or incarnation.waits > 0:
            self._serial = incarnation.serial
            self._late_seconds = 0.0
        elif self.spec.hang_seconds is not None and self._late_seconds > self.spec.hang_seconds:
            self.abandon(Hung(self._late_seconds, incarnation.stack()))

    def abandon(self, reason: Reason) -> None:
        """Writes the present incarnation off: fenced, freed from what it may be stuck in, never waited for again."""
        incarnation = self.incarnation
        if incarnation is None:
            return
        incarnation.fence()
        incarnation.unblock()
        incarnation.settle_unknown()
        self.core.write_off(incarnation, reason)
        self._over(incarnation, reason)

    def rest(self, why: str) -> None:
        """Refuses messages; those that waited are reported."""
        if left := self.mailbox.refuse(why):
            self.core.emit(Undelivered(self.name, left))

    def _over(self, incarnation: Incarnation, reason: Reason) -> None:
        expected = self.state is State.STOPPING
        incarnation.fence()
        self.incarnation = None
        self.core.unwatch(incarnation)
        if self.spec.while_down is Mailbox.REFUSE:
            self.rest("is down")
        self.core.exited(
            Exited(
                self.name, incarnation.epoch, reason, incarnation.messages_in_hand(), expected, self.uptime_seconds()
            )
        )
        self.went_down(reason)

    def _reset_lateness(self) -> None:
        self._late_seconds = 0.0
        self._unblocked = False
        self._serial = 0 if self.incarnation is None else self.incarnation.serial
