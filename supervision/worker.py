"""The worker: starts, stops and watches the incarnations of one child, and writes them off."""

from __future__ import annotations

from supervision.actor import Incarnation, StartThread
from supervision.errors import OutcomeUnknown
from supervision.events import Exited, KernelFault, Undelivered, WrittenOff, WrittenOffEnded
from supervision.kernel import Kernel, Node, NodeChanged, State, Window
from supervision.mailbox import settle
from supervision.reasons import Abandoned, Crashed, Hung, Reason, Shutdown, StartOverdue, ThreadNotStarted, detached
from supervision.spec import ChildSpec, Mailbox

_LAST_INSTRUCTIONS_SECONDS = 1.0


class Worker(Node):
    """A child that runs an actor. Its mailbox belongs to the name and outlives it."""

    spec: ChildSpec

    def __init__(self, spec: ChildSpec, kernel: Kernel, changed: NodeChanged, start_thread: StartThread) -> None:
        super().__init__(spec, kernel, changed)
        self.incarnation: Incarnation | None = None
        self.mailbox = kernel.add_mailbox(spec)
        if spec.max_restarts is not None:
            self.budget = Window(spec.max_restarts, spec.window_seconds)
        self._exemptions = Window(spec.max_exempt_restarts, spec.window_seconds)
        self._start_thread = start_thread
        self._late_seconds = 0.0
        self._serial = 0
        self._unblocked = False

    def begin(self) -> None:
        self.mailbox.open()
        incarnation = Incarnation(self.spec, self.record.epoch, self.kernel, self._came_up, self._ended)
        self.incarnation = incarnation
        self._reset_lateness(incarnation)
        try:
            self._start_thread(incarnation)
        except Exception as error:  # noqa: BLE001 - whatever refuses the thread, the child is not up
            incarnation.thread = None
            self._over(incarnation, ThreadNotStarted(*detached(error)))

    def halt(self) -> None:
        assert self.incarnation is not None, "only what runs is told to stop"
        self._reset_lateness(self.incarnation)
        self.incarnation.stop(Shutdown())
        if self.spec.shutdown_seconds == 0:
            self._abandon(self.incarnation, Abandoned(0.0, self.incarnation.stack()))

    def close(self, why: str) -> None:
        if left := self.mailbox.refuse(why):
            self.kernel.emit(Undelivered(self.name, left))

    def tick(self, seconds: float) -> None:
        """Checks whether the present incarnation is late: in its start, its stop, or with a message."""
        incarnation = self.incarnation
        if incarnation is None:
            return
        self._late_seconds += seconds
        if self.state is State.STARTING:
            if self._late_seconds > self.spec.start_seconds:
                self._abandon(incarnation, StartOverdue(self._late_seconds, incarnation.stack()))
        elif self.state is State.STOPPING:
            budget_seconds = min(self.spec.shutdown_seconds, self.kernel.grace_seconds)
            if not self._unblocked and self._late_seconds >= budget_seconds / 2:
                self._unblocked = True
                incarnation.unblock()
            if self._late_seconds >= budget_seconds:
                self._abandon(incarnation, Abandoned(self._late_seconds, incarnation.stack()))
        elif incarnation.serial != self._serial or incarnation.serial % 2 == 0 or incarnation.waits > 0:
            self._serial = incarnation.serial
            self._late_seconds = 0.0
        elif self.spec.hang_seconds is not None and self._late_seconds > self.spec.hang_seconds:
            self._abandon(incarnation, Hung(self._late_seconds, incarnation.stack()))

    def exempts(self, notice: Exited) -> bool:
        """Asks the specification about a crash or hang, within the bound of exemptions."""
        ask = self.spec.exempt_from_max_restarts
        if ask is None or not isinstance(notice.reason, Crashed | Hung):
            return False
        try:
            exempt = ask(notice)
        except Exception:  # noqa: BLE001 - a callback's bug must not end the kernel
            self.kernel.listener_failures += 1
            return False
        return exempt and self._exemptions.allows(self.kernel.clock.monotonic())

    def _came_up(self, incarnation: Incarnation) -> None:
        # One that is being stopped already does not come up any more.
        if incarnation is self.incarnation and self.state is State.STARTING:
            self._reset_lateness(incarnation)
            self.went_up()

    def _ended(self, incarnation: Incarnation) -> None:
        """The incarnation's thread has reported its end: its last act, or that of one written off before."""
        if incarnation is self.incarnation:
            if incarnation.thread is not None:
                incarnation.thread.join(_LAST_INSTRUCTIONS_SECONDS)
            self._over(incarnation, incarnation.reason or Shutdown())
        elif incarnation in self.kernel.written_off:
            self.kernel.written_off.discard(incarnation)
            self.kernel.emit(WrittenOffEnded(self.name, incarnation.epoch))
        else:
            self.kernel.emit(KernelFault(self.name, f"a second exit notice of epoch {incarnation.epoch} is ignored"))

    def _abandon(self, incarnation: Incarnation, reason: Reason) -> None:
        """Writes the incarnation off: fences it, frees it from what it may be stuck in, never waits for it again."""
        incarnation.fence()
        incarnation.unblock()
        for envelope in tuple(incarnation.in_hand):
            settle(envelope.reply_to, error=OutcomeUnknown(f"{self.name} was written off with it in hand"))
        self.kernel.written_off.add(incarnation)
        alive = len(self.kernel.written_off)
        self.kernel.emit(WrittenOff(self.name, incarnation.epoch, reason, alive))
        if alive > self.kernel.written_off_limit:
            self.kernel.give_up(f"{alive} threads that had to be written off are alive")
        self._over(incarnation, reason)

    def _over(self, incarnation: Incarnation, reason: Reason) -> None:
        incarnation.fence()
        self.incarnation = None
        if self.spec.while_down is Mailbox.REFUSE:
            self.close("is down")
        self.went_down(reason, tuple(envelope.message for envelope in tuple(incarnation.in_hand)))

    def _reset_lateness(self, incarnation: Incarnation) -> None:
        self._late_seconds = 0.0
        self._unblocked = False
        self._serial = incarnation.serial
