"""The inside of a running tree: what its nodes and incarnations lean on, in the kernel's one thread."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from supervision.clock import Clock, Randomness
from supervision.errors import StartFailed
from supervision.events import Event, Exited, KernelFault, Listener, Undelivered, WrittenOff, WrittenOffEnded
from supervision.incarnation import Incarnation, StartThread
from supervision.loop import Loop
from supervision.mailbox import NameMailbox
from supervision.names import Names, Record
from supervision.node import Node, Reply, State
from supervision.reasons import ChildFailed, GaveUp, Reason, Shutdown, detached
from supervision.spec import ChildSpec, Mailbox, Spec, SupervisorSpec
from supervision.supervisor import Supervisor
from supervision.timers import Timer
from supervision.worker import Worker

__all__ = ["EndKind", "Ended", "Engine"]


class EndKind(StrEnum):
    """EndKind a system ended."""

    STOPPED = "stopped"
    GAVE_UP = "gave_up"


@dataclass(frozen=True)
class Ended:
    """The end of a system; after `gave_up` the process should end with a status that isn't 0."""

    kind: EndKind
    reason: Reason


class Engine:
    """Holds the nodes, the incarnations and the loop that drives them; `System` is its face."""

    def __init__(
        self,
        root: SupervisorSpec,
        clock: Clock,
        randomness: Randomness,
        start_thread: StartThread,
        on_event: Listener | None,
        tick_seconds: float,
        written_off_limit: int,
        names: Names,
    ) -> None:
        self.clock = clock
        self.randomness = randomness
        self.start_thread = start_thread
        self.names = names
        self.grace_seconds = math.inf
        self.listener_failures = 0
        self.loop = Loop(clock, tick_seconds, self._settle, self._sweep)
        self.nodes: dict[str, Node] = {}
        self.started = Reply()
        self.over = threading.Event()
        self.ended: Ended | None = None
        self._on_event = on_event
        self._tick_seconds = tick_seconds
        self._written_off_limit = written_off_limit
        self._written_off: set[Incarnation] = set()
        self._incarnations: dict[Incarnation, Worker] = {}
        self._dirty: dict[Supervisor, None] = {}
        for spec in root.workers():
            mailbox = names.add_mailbox(spec.name, spec.mailbox_limit)
            if spec.while_down is Mailbox.KEEP:
                mailbox.open()
        self.root = Supervisor(root, self, None, self.make)

    # For the nodes and incarnations.

    def now(self) -> float:
        """Monotonic seconds."""
        return self.clock.monotonic()

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Calls the action from the kernel's thread when the time has come."""
        return self.loop.after(seconds, action)

    def emit(self, event: Event) -> None:
        """Tells the listener; its failure is counted and changes nothing."""
        if self._on_event is not None:
            try:
                self._on_event(event)
            except BaseException:  # noqa: BLE001 - a failing log must not end what it reports on
                self.listener_failures += 1

    def exited(self, notice: Exited) -> None:
        """Tells the listener and the monitors of an end."""
        record = self.record(notice.name)
        record.last_exit = notice
        monitors, record.monitors = record.monitors, []
        self.emit(notice)
        for callback in monitors:
            self.notify(callback, notice)

    def notify(self, callback: Callable[[Exited], None], notice: Exited) -> None:
        """Tells a monitor; its failure is counted and changes nothing."""
        try:
            callback(notice)
        except BaseException:  # noqa: BLE001 - a monitor's failure is its own
            self.listener_failures += 1

    def touch(self, supervisor: Supervisor) -> None:
        """Lets that supervisor go on before the kernel rests."""
        self._dirty[supervisor] = None

    def record(self, name: str) -> Record:
        """What is kept of that name."""
        return self.names.record(name)

    def add_mailbox(self, name: str, limit: int) -> NameMailbox:
        """The mailbox of that name, made if there is none."""
        return self.names.add_mailbox(name, limit)

    def enter(self, node: Node) -> None:
        """The node holds its name from now on."""
        self.nodes[node.name] = node

    def leave(self, node: Node) -> None:
        """The node is no longer part of the tree; its epoch goes on if the name comes back."""
        below = list(node.children.values()) if isinstance(node, Supervisor) else []
        for child in below:
            self.leave(child)
        if self.nodes.get(node.name) is node:
            del self.nodes[node.name]
            self.names.forget(node.name)

    def watch(self, worker: Worker, incarnation: Incarnation) -> None:
        """That incarnation is the worker's, and is to be looked after."""
        self._incarnations[incarnation] = worker

    def unwatch(self, incarnation: Incarnation) -> None:
        """That incarnation is nobody's any more."""
        self._incarnations.pop(incarnation, None)

    def write_off(self, incarnation: Incarnation, reason: Reason) -> None:
        """That incarnation's thread is left to itself; too many of them alive, and the root gives up."""
        self._written_off.add(incarnation)
        alive = len(self._written_off)
        self.emit(WrittenOff(incarnation.name, incarnation.epoch, reason, alive))
        if alive > self._written_off_limit and self.root.winding is None:
            self.root.give_up(f"{alive} threads that had to be written off are alive")

    def root_changed(self, node: Node, reason: Reason | None) -> None:
        """The root came up (None), or ended."""
        if reason is None:
            self.started.give()
            return
        error = StartFailed(f"{node.name}: {reason}")
        while isinstance(reason, ChildFailed) and isinstance(reason.reason, ChildFailed):
            reason = reason.reason
        if isinstance(reason, ChildFailed):
            error.__cause__ = getattr(reason.reason, "exception", None)
        self.started.give(error=error)
        self._end(reason)

    def _end(self, reason: Reason) -> None:
        for name, left in self.names.close("is gone: the system has ended").items():
            self.emit(Undelivered(name, left))
        kind = EndKind.GAVE_UP if isinstance(reason, GaveUp | ChildFailed) else EndKind.STOPPED
        self.ended = Ended(kind, reason)
        self.over.set()

    def make(self, spec: Spec, parent: Supervisor) -> Node:
        """The node of a specification."""
        if isinstance(spec, ChildSpec):
            return Worker(spec, self, parent, self)
        return Supervisor(spec, self, parent, self.make)

    # The kernel's thread.

    def incarnation_up(self, incarnation: Incarnation) -> None:
        """Posted by an incarnation's thread."""
        self.loop.post(lambda: self._incarnation_up(incarnation))

    def incarnation_ended(self, incarnation: Incarnation) -> None:
        """Posted by an incarnation's thread, as its last act."""
        self.loop.post(lambda: self._incarnation_ended(incarnation))

    def _incarnation_up(self, incarnation: Incarnation) -> None:
        if incarnation in self._incarnations:
            self._incarnations[incarnation].incarnation_up()

    def _incarnation_ended(self, incarnation: Incarnation) -> None:
        if incarnation in self._incarnations:
            self._incarnations[incarnation].incarnation_ended()
        elif incarnation in self._written_off:
            self._written_off.discard(incarnation)
            self.emit(WrittenOffEnded(incarnation.name, incarnation.epoch))
        else:
            self.emit(KernelFault(incarnation.name, f"a second exit notice of epoch {incarnation.epoch} is ignored"))

    def _settle(self) -> None:
        while self._dirty:
            supervisor = next(iter(self._dirty))
            del self._dirty[supervisor]
            supervisor.advance()

    def _sweep(self, seconds: float) -> None:
        for worker in list(self._incarnations.values()):
            worker.tick(seconds)
        for node in list(self.nodes.values()):
            if isinstance(node, Supervisor):
                node.advance()

    def tell_from(self, incarnation: Incarnation, name: str, message: Any) -> None:
        """An actor's `tell`, in that actor's thread."""
        self.names.tell_from(incarnation, name, message)

    def stop_root(self) -> None:
        """Stops the tree, started or not."""
        if self.root.running and self.root.state is not State.STOPPING:
            self.root.stop()
        elif not self.root.running and self.ended is None:
            self._end(Shutdown())

    def hurry(self) -> None:
        """From now on whoever is told to stop has one tick to do so."""
        self.grace_seconds = self._tick_seconds

    def run_until_over(self) -> None:
        """The whole work of the kernel's thread."""
        try:
            while self.ended is None:
                self.loop.turn()
                if self.ended is None:
                    self.loop.pause()
        except BaseException as error:  # noqa: BLE001 - a kernel that met its own bug must not go on
            self._fault(error)

    def _fault(self, error: BaseException) -> None:
        self.emit(KernelFault(self.root.name, detached(error)[1]))
        for incarnation in list(self._incarnations):
            incarnation.fence()
        reason = GaveUp(f"the kernel met its own bug: {error!r}")
        self.started.give(error=StartFailed(str(reason)))
        self._end(reason)
