"""The kernel of one tree (its thread's work, names and events) and the nodes of the tree."""

from __future__ import annotations

import math
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pykka

from supervision.clock import Clock, Randomness
from supervision.errors import UnknownName
from supervision.events import Event, Exited, Listener, Started
from supervision.mailbox import Envelope, NameMailbox, Reader, settle
from supervision.reasons import Declined, Reason
from supervision.spec import ChildSpec, Mailbox, Spec
from supervision.timers import Timer, Timers

Question = pykka.ThreadingFuture[Any]
"""What another thread waits for: the answer to a message or a command."""

_REMEMBERED_EXITS = 1000


@dataclass
class NameRecord:
    """What the kernel keeps of a name over all its incarnations."""

    epoch: int = 0
    restarts: int = 0
    mailbox: NameMailbox | None = None
    last_exit: Exited | None = None
    monitors: list[Monitor] = field(default_factory=list)


@dataclass(eq=False)
class Monitor:
    """A watch over one incarnation: calls back once at its end, unless cancelled."""

    callback: Callable[[Exited], None] | None

    def cancel(self) -> None:
        self.callback = None


@dataclass(eq=False)
class Kernel:
    """Runs posted actions and due timers in one thread, and keeps the names of the tree.

    Any thread may call `post`, `after`, `mailbox` and `tell`; everything else is for the kernel's thread.
    Epochs are kept for ever, so that a name that comes back never repeats one. Of names that are gone the
    latest thousand last exits are kept.
    """

    clock: Clock
    randomness: Randomness
    on_event: Listener | None
    tick_seconds: float
    written_off_limit: int
    full_mailbox_seconds: float
    grace_seconds: float = math.inf
    """At most so long is waited for a child to stop; endless unless the whole tree must end."""
    nodes: dict[str, Node] = field(default_factory=dict)
    records: defaultdict[str, NameRecord] = field(default_factory=lambda: defaultdict(NameRecord))
    written_off: set[Reader] = field(default_factory=set)
    listener_failures: int = 0
    rounds: int = 0
    give_up: Callable[[str], None] = lambda _: None
    """Ends the whole tree for the reason given; set by the system."""

    def __post_init__(self) -> None:
        self.last_round = self.clock.monotonic()
        self._departed: deque[str] = deque()
        self._posted: deque[Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._timers = Timers()
        self._unticked_seconds = 0.0

    # The thread's work.

    def post(self, action: Callable[[], None]) -> None:
        """Runs the action after those posted before."""
        self._posted.append(action)
        self._wake.set()

    def after(self, seconds: float, action: Callable[[], None], repeat: bool = False) -> Timer:
        """Runs the action when that time has passed, or each time it has passed."""
        timer = Timer(action, seconds if repeat else None)
        if self._timers.add(self.clock.monotonic() + seconds, timer):
            self._wake.set()
        return timer

    def post_first(self, action: Callable[[], None]) -> None:
        """Runs the action before those posted already; for the kernel's own thread."""
        self._posted.appendleft(action)

    def turn(self) -> bool:
        """One round; does not wait. Whether something was posted meanwhile.

        A tick tells each node for how long the kernel itself has run since the last one. A standstill
        counts as two ticks at most, so that after a freeze of the process no child is late.
        """
        self._wake.clear()
        now = self.clock.monotonic()
        self._unticked_seconds += min(now - self.last_round, 2 * self.tick_seconds)
        for timer in self._timers.take_due(now):
            timer.fire()
            if timer.pending and timer.repeat_seconds is not None:
                self._timers.add(now + timer.repeat_seconds, timer)
        self._run_posted()
        if self._unticked_seconds >= self.tick_seconds:
            seconds, self._unticked_seconds = self._unticked_seconds, 0.0
            for node in list(self.nodes.values()):
                node.tick(seconds)
            self._run_posted()
        self.rounds += 1
        self.last_round = now
        return self._wake.is_set()

    def _run_posted(self) -> None:
        while self._posted:
            self._posted.popleft()()

    def pause(self) -> None:
        """Waits until an action is posted or a timer is due, one tick at most."""
        due, now = self._timers.next_due(), self.clock.monotonic()
        seconds = self.tick_seconds if due is None else min(self.tick_seconds, max(0.0, due - now))
        self.clock.wait(self._wake, seconds)

    # Events.

    def emit(self, event: Event) -> None:
        self.notify(self.on_event, event)

    def notify(self, callback: Callable[[Any], None] | None, event: Event) -> None:
        """Calls a listener or monitor; its failure is counted and changes nothing."""
        try:
            if callback is not None:
                callback(event)
        except BaseException:  # noqa: BLE001 - a failing listener must not end what it reports on
            self.listener_failures += 1

    # Names.

    def add_mailbox(self, spec: ChildSpec) -> NameMailbox:
        """The mailbox of that child's name, made if there is none."""
        record = self.records[spec.name]
        if record.mailbox is None:
            record.mailbox = NameMailbox(spec.name, spec.mailbox_limit)
        record.mailbox.limit = spec.mailbox_limit
        if spec.while_down is Mailbox.KEEP:
            record.mailbox.open()
        return record.mailbox

    def mailbox(self, name: str) -> NameMailbox:
        """Raises UnknownName."""
        record = self.records.get(name)
        if record is None or record.mailbox is None:
            raise UnknownName(f"nobody is named {name}")
        return record.mailbox

    def tell(self, sender: Reader | None, name: str, message: Any, wait_seconds: float = 0.0) -> None:
        """Sends a message. Raises as Actor.tell."""
        self.mailbox(name).put(Envelope(message), sender, wait_seconds)

    def remove(self, node: Node) -> None:
        """Takes a node and all below it out of the tree."""
        for child in list(node.children.values()):
            self.remove(child)
        if self.nodes.get(node.name) is node:
            del self.nodes[node.name]
            node.record.mailbox = None
            self._departed.append(node.name)
            if len(self._departed) > _REMEMBERED_EXITS:
                oldest = self._departed.popleft()
                if oldest not in self.nodes and oldest not in self._departed:
                    self.records[oldest].last_exit = None


class State(StrEnum):
    """Where a node stands."""

    DOWN = "down"
    DECLINED = "declined"
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"
    RESTARTING = "restarting"


class Window:
    """At most `limit` restarts within the last `seconds`, the present one included, as in OTP."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self._times: deque[float] = deque()

    def allows(self, now: float) -> bool:
        """Counts a restart at `now` (monotonic seconds) and says whether it is within the limit."""
        while self._times and self._times[0] < now - self.seconds:
            self._times.popleft()
        self._times.append(now)
        return len(self._times) <= self.limit


class Node:
    """A child of a supervisor, or the root, from when its specification is taken up until it is removed.

    Its supervisor keeps here what it has to know of the child: `failures` in a row, `retry`, `command` (waits
    for the child to come up), `terminated` (wait for it to be down) and `new` (added by the present
    `start_child`, forgotten if that fails). `budget` is the child's own limit of restarts.
    """

    def __init__(self, spec: Spec, kernel: Kernel, changed: NodeChanged) -> None:
        self.spec = spec
        self.name = spec.name
        self.kernel = kernel
        self.record = kernel.records[spec.name]
        self.state = State.DOWN
        self.last_reason: Reason | None = None
        self.up_since: float | None = None
        self.children: dict[str, Node] = {}
        self.budget: Window | None = None
        self.failures = 0
        self.retry: Timer | None = None
        self.command: Question | None = None
        self.terminated: list[Question] = []
        self.new = False
        self._changed = changed
        kernel.nodes[self.name] = self

    # What a worker does in its way, and a supervisor in its own.

    def begin(self) -> None: ...  # an incarnation; `went_up` or `went_down` follows
    def halt(self) -> None: ...  # the incarnation; `went_down` follows
    def close(self, why: str) -> None: ...  # no further incarnation will come: its mailbox refuses
    def tick(self, seconds: float) -> None: ...  # the kernel has run for that long since the last tick

    @property
    def running(self) -> bool:
        return self.state in (State.STARTING, State.UP, State.STOPPING)

    def start(self) -> None:
        self.cancel_retry()
        self.record.epoch += 1
        self.state = State.STARTING
        self.up_since = None
        self.begin()

    def stop(self) -> None:
        if self.state is not State.STOPPING:
            self.state = State.STOPPING
            self.halt()

    def went_up(self) -> None:
        self.kernel.emit(Started(self.name, self.record.epoch))
        was, self.state = self.state, State.UP
        self.up_since = self.kernel.clock.monotonic()
        self._changed(self, was, None)

    def went_down(self, reason: Reason, in_hand: tuple[Any, ...] = ()) -> None:
        """Tells listener and monitors of the incarnation's end, and reports the change."""
        was = self.state
        uptime_seconds = 0.0 if self.up_since is None else self.kernel.clock.monotonic() - self.up_since
        notice = Exited(self.name, self.record.epoch, reason, in_hand, was is State.STOPPING, uptime_seconds)
        monitors, self.record.monitors, self.record.last_exit = self.record.monitors, [], notice
        self.kernel.emit(notice)
        for monitor in monitors:
            self.kernel.notify(monitor.callback, notice)
        self.state = State.DECLINED if isinstance(reason, Declined) else State.DOWN
        self.last_reason = reason
        self._changed(self, was, notice)

    def retry_after(self, seconds: float) -> None:
        """Starts it when that time has passed, unless `cancel_retry` is called before."""
        self.state = State.RESTARTING
        self.retry = self.kernel.after(seconds, self.start)

    def cancel_retry(self) -> None:
        """Ends the waiting for a restart."""
        if self.retry is not None:
            self.retry.cancel()
            self.retry = None
        if self.state is State.RESTARTING:
            self.state = State.DOWN

    def answer(self, value: int | None = None, error: BaseException | None = None) -> None:
        settle(self.command, value, error)
        self.command = None


NodeChanged = Callable[[Node, State, Exited | None], None]
"""Told that a node came up (no notice) or went down, and the state before."""
