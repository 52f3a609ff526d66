"""What workers and supervisors have in common as children of a supervisor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from supervision.clock import Randomness
from supervision.events import Event, Exited
from supervision.incarnation import Incarnation, StartThread
from supervision.mailbox import NameMailbox
from supervision.names import Record
from supervision.reasons import Declined, Reason
from supervision.restarts import Backoff, Window
from supervision.spec import Spec
from supervision.timers import Timer

if TYPE_CHECKING:
    from supervision.supervisor import Supervisor
    from supervision.worker import Worker

__all__ = ["Core", "Node", "Reply", "State"]


class State(StrEnum):
    """Where a child stands."""

    DOWN = "down"
    DECLINED = "declined"
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"
    RESTARTING = "restarting"


RUNNING = frozenset({State.STARTING, State.UP, State.STOPPING})


class Reply:
    """The answer to a command, waited for in another thread."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def give(self, value: Any = None, error: BaseException | None = None) -> None:
        """Answers, unless that has happened."""
        if not self.done.is_set():
            self.value, self.error = value, error
            self.done.set()


class Core(Protocol):
    """What the nodes need of the system; all of it is used in the kernel's thread."""

    randomness: Randomness
    start_thread: StartThread
    grace_seconds: float
    """At most so long is waited for anyone to stop; endless unless the whole system must end."""

    def now(self) -> float:
        """Monotonic seconds."""

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Calls the action from the kernel's thread when the time has come."""

    def emit(self, event: Event) -> None:
        """Tells the listener."""

    def exited(self, notice: Exited) -> None:
        """Tells the listener and the monitors of an end."""

    def touch(self, supervisor: Supervisor) -> None:
        """Lets that supervisor go on before the kernel rests."""

    def record(self, name: str) -> Record:
        """What is kept of that name."""

    def add_mailbox(self, name: str, limit: int) -> NameMailbox:
        """The mailbox of that name, made if there is none."""

    def enter(self, node: Node) -> None:
        """The node holds its name from now on."""

    def leave(self, node: Node) -> None:
        """The node is no longer part of the tree."""

    def watch(self, worker: Worker, incarnation: Incarnation) -> None:
        """That incarnation is the worker's, and is to be looked after."""

    def unwatch(self, incarnation: Incarnation) -> None:
        """That incarnation is nobody's any more."""

    def write_off(self, incarnation: Incarnation, reason: Reason) -> None:
        """That incarnation's thread is left to itself."""

    def root_changed(self, node: Node, reason: Reason | None) -> None:
        """The root came up (None), or ended."""


class Node:
    """One child in one tenure of its supervisor."""

    def __init__(self, spec: Spec, core: Core, parent: Supervisor | None) -> None:
        self.spec = spec
        self.name = spec.name
        self.core = core
        self.parent = parent
        self.state = State.DOWN
        self.last_reason: Reason | None = None
        self.up_since: float | None = None
        self.retry: Timer | None = None
        self.command: Reply | None = None
        self.terminated: list[Reply] = []
        self.new = False
        self.backoff: Backoff | None = None
        self.budget: Window | None = None
        if parent is not None:
            self.backoff = Backoff(parent.spec.backoff_base_seconds, parent.spec.backoff_max_seconds, core.randomness)
        core.enter(self)

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended: its end is still to be waited for."""
        return self.state in RUNNING

    def start(self) -> None:
        """Begins a new incarnation; `went_up` or `went_down` follows."""
        self.cancel_retry()
        self.core.record(self.name).epoch += 1
        self.state = State.STARTING
        self.begin()

    def stop(self) -> None:
        """Tells it to stop; `went_down` follows."""
        self.state = State.STOPPING
        self.halt()

    def begin(self) -> None:
        """The part of `start` that a worker and a supervisor do each in its way."""
        raise NotImplementedError

    def halt(self) -> None:
        """The part of `stop` that a worker and a supervisor do each in its way."""
        raise NotImplementedError

    def rest(self, why: str) -> None:
        """No further incarnation is in sight: what waits for it is handed back."""
        raise NotImplementedError

    def went_up(self) -> None:
        """Its start has ended well."""
        self.state = State.UP
        self.up_since = self.core.now()
        if self.parent is None:
            self.core.root_changed(self, None)
        else:
            self.parent.child_up(self)

    def went_down(self, reason: Reason) -> None:
        """It has ended, for whatever reason."""
        was = self.state
        self.state = State.DECLINED if isinstance(reason, Declined) else State.DOWN
        self.last_reason = reason
        if (
            self.backoff is not None
            and self.parent is not None
            and self.up_since is not None
            and self.core.now() - self.up_since >= self.parent.spec.stable_seconds
        ):
            self.backoff.reset()
        self.up_since = None
        if self.parent is None:
            self.core.root_changed(self, reason)
        else:
            self.parent.child_down(self, was, reason)

    def uptime_seconds(self) -> float:
        """EndKind long it has been up; 0 if it is not."""
        return 0.0 if self.up_since is None else self.core.now() - self.up_since

    def retry_after(self, seconds: float) -> None:
        """Starts it when that time has passed, unless it is cancelled."""
        self.state = State.RESTARTING
        self.retry = self.core.after(seconds, self.start)

    def cancel_retry(self) -> None:
        """Leaves the restart loop, if it is in it."""
        if self.retry is not None:
            self.retry.cancel()
            self.retry = None
        if self.state is State.RESTARTING:
            self.state = State.DOWN
