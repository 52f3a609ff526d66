"""A running tree: its names, its clockwork and its operators' commands."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from supervision import commands
from supervision.clock import Clock, Randomness, SystemClock, system_randomness
from supervision.errors import (
    NotRunning,
    StartFailed,
    SupervisionError,
    UnknownName,
)
from supervision.events import Event, Exited, KernelFault, Listener, WrittenOff, WrittenOffEnded
from supervision.life import Life, StartThread, start_thread
from supervision.loop import Loop
from supervision.mailbox import Letter, NameMailbox
from supervision.names import Names, Record
from supervision.node import Node, Reply, State
from supervision.reasons import Abandoned, ChildFailed, GaveUp, Reason, Shutdown, Unstarted, detached
from supervision.specs import ChildSpec, Spec, SupervisorSpec
from supervision.supervisor import Supervisor
from supervision.timers import Timer
from supervision.worker import Worker

__all__ = ["Ended", "How", "Progress", "System"]


class How(StrEnum):
    """How a system ended."""

    STOPPED = "stopped"
    GAVE_UP = "gave_up"


@dataclass(frozen=True)
class Ended:
    """The end of a system; after `gave_up` the process should end with a status that isn't 0."""

    how: How
    reason: Reason


@dataclass(frozen=True)
class Progress:
    """Proof that the kernel and every supervisor went on lately: `rounds` grows, `age_seconds` stays small.

    `supervisors` have been looked after in the last round, `age_seconds` ago by the monotonic clock.
    """

    rounds: int
    age_seconds: float
    supervisors: int


class System:
    """A tree of supervisors and actors, driven by one thread.

    - `start_thread` runs a life in a thread; it raises if the machine refuses one.
    - `on_event` is told everything, in the kernel's thread; of an exit before the next incarnation starts.
    - `tick_seconds`: how often hangs and budgets are looked at. A longer standstill of the kernel itself
      counts as two ticks at most: when the process was frozen, nobody is late.
    - `written_off_limit`: more threads alive that had to be left to themselves, and the root gives up;
      the root's `max_restarts` if not given.
    - `full_mailbox_seconds`: how long an actor's `tell` waits for room.

    Where it differs from OTP: supervisors are no processes of their own but states of one thread that
    never waits in place; none can be stuck behind a child, and one stopped kernel is one thing to watch.
    """

    def __init__(
        self,
        root: SupervisorSpec,
        *,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
        start_thread: StartThread = start_thread,
        on_event: Listener | None = None,
        tick_seconds: float = 0.25,
        written_off_limit: int | None = None,
        full_mailbox_seconds: float = 2.0,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.randomness = randomness or system_randomness()
        self.start_thread = start_thread
        self.listener_failures = 0
        self._on_event = on_event
        self._written_off_limit = root.max_restarts if written_off_limit is None else written_off_limit
        self._written_off: set[Life] = set()
        self._loop = Loop(self.clock, tick_seconds, self._settle, self._sweep)
        self._names = Names(full_mailbox_seconds)
        self._nodes: dict[str, Node] = {}
        self._lives: dict[Life, Worker] = {}
        self._watched: dict[Worker, None] = {}
        self._dirty: dict[Supervisor, None] = {}
        self._thread: threading.Thread | None = None
        self._started = Reply()
        self._over = threading.Event()
        self._ended: Ended | None = None
        for spec in root.workers():
            self._names.add_mailbox(spec.name, spec.mailbox_limit).open()
        self._root = Supervisor(root, self, None, self._make)

    # For its owner.

    def start(self) -> None:
        """Starts the tree; returns when every child is up.

        Raises StartFailed, with the child's exception as its cause, after what had started is stopped.
        """
        self._loop.post(self._root.start)
        self._run()
        self._await(self._started)

    def stop(self, timeout_seconds: float | None = None) -> Ended:
        """Stops the tree in reverse order, within the children's budgets; harmless when it has ended.

        After `timeout_seconds` whoever has not stopped is abandoned.
        """
        self._loop.post(self._stop_root)
        if not self._pump(self._over, timeout_seconds):
            self._loop.post(self._abandon_all)
            self._pump(self._over, None)
        assert self._ended is not None
        return self._ended

    def wait(self, timeout_seconds: float | None = None) -> Ended | None:
        """Waits for the system's end, in real seconds; None if it goes on."""
        self._pump(self._over, timeout_seconds)
        return self._ended

    @property
    def ended(self) -> Ended | None:
        """How it ended; None while it goes on."""
        return self._ended

    def progress(self) -> Progress:
        """What a watchdog may go by."""
        supervisors = sum(isinstance(node, Supervisor) for node in list(self._nodes.values()))
        return Progress(self._loop.rounds, self.clock.monotonic() - self._loop.last_round, supervisors)

    def tree(self) -> dict[str, Any]:
        """The tree as plain data: name, state, restarts, last_reason, children.

        Each row is true; two rows may have been looked at a moment apart.
        """
        return self._describe(self._root)

    def _describe(self, node: Node) -> dict[str, Any]:
        children = list(node.children.values()) if isinstance(node, Supervisor) else []
        return {
            "name": node.name,
            "state": str(node.state),
            "restarts": self.record(node.name).restarts,
            "last_reason": None if node.last_reason is None else str(node.last_reason)[:500],
            "children": [self._describe(child) for child in children],
        }

    # Dynamic children: as OTP's, answered when done. Not to be called from a listener or monitor.

    def start_child(self, supervisor: str, spec: Spec) -> int | None:
        """Starts one more child of that supervisor; its epoch, None if it declined.

        It is forgotten when its supervisor is restarted. Raises StartFailed (it is not kept then),
        AlreadyStarted, AlreadyPresent, SpecError, UnknownName, NotRunning.
        """
        parent = self._supervisor(supervisor)
        made = commands.start_new(parent, spec, self._nodes, lambda: self._make(spec, parent))
        epoch: int | None = self._command(parent, made)
        return epoch

    def terminate_child(self, name: str) -> None:
        """Stops a child, or ends its restart loop; its specification stays, unless it is temporary.

        Raises UnknownName, NotRunning.
        """
        parent = self._parent(name)
        self._command(parent, commands.terminate(parent, name))

    def restart_child(self, name: str) -> int | None:
        """Starts a child that is down; its epoch, None if it declined.

        Raises ChildRunning, ChildRestarting, StartFailed, UnknownName, NotRunning.
        """
        parent = self._parent(name)
        epoch: int | None = self._command(parent, commands.restart(parent, name))
        return epoch

    def delete_child(self, name: str) -> None:
        """Forgets a child that is down. Raises ChildRunning, ChildRestarting, UnknownName, NotRunning."""
        parent = self._parent(name)
        self._command(parent, commands.delete(parent, name))

    def count_children(self, supervisor: str) -> commands.Counts:
        """Of one supervisor: specifications, active, supervisors, workers. Raises UnknownName."""
        nodes = list(self._supervisor(supervisor).children.values())
        supervisors = sum(isinstance(node, Supervisor) for node in nodes)
        active = sum(node.state is State.UP for node in nodes)
        return commands.Counts(len(nodes), active, supervisors, len(nodes) - supervisors)

    def monitor(self, name: str, callback: Callable[[Exited], None]) -> commands.Monitor:
        """Calls back once, in the kernel's thread, when the present incarnation ends.

        If there is none, at once, with the last one's exit notice; a name that never lived gives
        an Exited of epoch 0 with the reason Unstarted.
        """
        cancelled = threading.Event()

        def once(notice: Exited) -> None:
            if not cancelled.is_set():
                cancelled.set()
                callback(notice)

        self._loop.post(lambda: self._monitor(name, once))
        return commands.Monitor(cancelled.set)

    def _monitor(self, name: str, callback: Callable[[Exited], None]) -> None:
        node = self._nodes.get(name)
        if node is not None and node.running:
            self.record(name).monitors.append(callback)
            return
        self._notify(callback, self._names.last_exit(name) or Exited(name, 0, Unstarted()))

    def _command(self, parent: Supervisor, action: Callable[[Reply], None]) -> Any:
        reply = Reply()
        self._loop.post(lambda: parent.request(reply, action))
        self._await(reply)
        return reply.value

    def _supervisor(self, name: str) -> Supervisor:
        node = self._nodes.get(name)
        if not isinstance(node, Supervisor):
            raise UnknownName(f"no supervisor is named {name}")
        return node

    def _parent(self, name: str) -> Supervisor:
        node = self._nodes.get(name)
        if node is None or node.parent is None:
            raise UnknownName(f"no child is named {name}")
        return node.parent

    # Messages.

    def tell(self, name: str, message: Any, timeout_seconds: float = 0.0) -> None:
        """Sends a message to whoever holds that post, now or next; waits at most that long for room.

        Raises UnknownName, NotRunning, MailboxFull.
        """
        self._names.mailbox(name).put(Letter(message), None, timeout_seconds)

    def ask(self, name: str, message: Any, timeout_seconds: float) -> Any:
        """The answer of whoever holds that post, in bounded time.

        Raises UnknownName; NotAttempted (never begun, asking again is safe); AskFailed (it raised, and
        crashed of it); OutcomeUnknown (begun, and no answer in time).
        """
        return self._names.ask(name, message, timeout_seconds)

    def waiting_messages(self) -> dict[str, int]:
        """How many messages wait for each name."""
        return self._names.waiting()

    def tell_from(self, life: Life, name: str, message: Any) -> None:
        """An actor's `tell`."""
        self._names.tell_from(life, name, message)

    # For the nodes and lives.

    def now(self) -> float:
        """Monotonic seconds."""
        return self.clock.monotonic()

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Calls the action from the kernel's thread when the time has come."""
        return self._loop.after(seconds, action)

    def emit(self, event: Event) -> None:
        """Tells the listener; its failure is counted and changes nothing."""
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:  # noqa: BLE001 - a failing log must not end what it reports on
                self.listener_failures += 1

    def exited(self, notice: Exited) -> None:
        """Tells the listener and the monitors of an end."""
        record = self.record(notice.name)
        record.last_exit = notice
        monitors, record.monitors = record.monitors, []
        self.emit(notice)
        for callback in monitors:
            self._notify(callback, notice)

    def _notify(self, callback: Callable[[Exited], None], notice: Exited) -> None:
        try:
            callback(notice)
        except Exception:  # noqa: BLE001 - a monitor's failure is its own
            self.listener_failures += 1

    def touch(self, supervisor: Supervisor) -> None:
        """Lets that supervisor go on before the kernel rests."""
        self._dirty[supervisor] = None

    def record(self, name: str) -> Record:
        """What is kept of that name."""
        return self._names.record(name)

    def add_mailbox(self, name: str, limit: int) -> NameMailbox:
        """The mailbox of that name, made if there is none."""
        return self._names.add_mailbox(name, limit)

    def enter(self, node: Node) -> None:
        """The node holds its name from now on."""
        self._nodes[node.name] = node

    def leave(self, node: Node) -> None:
        """The node is no longer part of the tree; its epoch goes on if the name comes back."""
        below = list(node.children.values()) if isinstance(node, Supervisor) else []
        for child in below:
            self.leave(child)
        if self._nodes.get(node.name) is node:
            del self._nodes[node.name]
            self._names.forget(node.name)

    def watch(self, node: Worker) -> None:
        """That worker has a life to be looked after."""
        assert node.life is not None
        self._lives[node.life] = node
        self._watched[node] = None

    def unwatch(self, node: Worker) -> None:
        """That worker has none any more."""
        self._watched.pop(node, None)

    def write_off(self, life: Life, reason: Reason) -> None:
        """That life's thread is left to itself; too many of them alive, and the root gives up."""
        self._written_off.add(life)
        alive = len(self._written_off)
        self.emit(WrittenOff(life.name, life.epoch, reason, alive))
        if alive > self._written_off_limit and self._root.winding is None:
            self._root.give_up(f"{alive} threads that had to be written off are alive")

    def root_changed(self, node: Node, reason: Reason | None) -> None:
        """The root came up (None), or ended."""
        if reason is None:
            self._started.give()
            return
        error = StartFailed(f"{node.name}: {reason}")
        while isinstance(reason, ChildFailed) and isinstance(reason.reason, ChildFailed):
            reason = reason.reason
        if isinstance(reason, ChildFailed):
            error.__cause__ = getattr(reason.reason, "exception", None)
        self._started.give(error=error)
        self._end(reason)

    def _end(self, reason: Reason) -> None:
        self._root.rest("is gone: the system has ended")
        how = How.GAVE_UP if isinstance(reason, GaveUp | ChildFailed) else How.STOPPED
        self._ended = Ended(how, reason)
        self._over.set()

    def _make(self, spec: Spec, parent: Supervisor) -> Node:
        if isinstance(spec, ChildSpec):
            return Worker(spec, self, parent, self)
        return Supervisor(spec, self, parent, self._make)

    # The kernel's thread.

    def life_is_up(self, life: Life) -> None:
        """Posted by a life's thread."""
        self._loop.post(lambda: self._life_is_up(life))

    def life_is_over(self, life: Life) -> None:
        """Posted by a life's thread, as its last act."""
        self._loop.post(lambda: self._life_is_over(life))

    def _life_is_up(self, life: Life) -> None:
        if life in self._lives:
            self._lives[life].life_is_up(life)

    def _life_is_over(self, life: Life) -> None:
        worker = self._lives.pop(life, None)
        if worker is not None and worker.life_is_over(life):
            return
        if life in self._written_off:
            self._written_off.discard(life)
            self.emit(WrittenOffEnded(life.name, life.epoch))
        else:
            self.emit(KernelFault(life.name, f"a second exit notice of epoch {life.epoch} is ignored"))

    def _settle(self) -> None:
        while self._dirty:
            supervisor = next(iter(self._dirty))
            del self._dirty[supervisor]
            supervisor.advance()

    def _sweep(self, seconds: float) -> None:
        for worker in list(self._watched):
            worker.tick(seconds)
        for node in list(self._nodes.values()):
            if isinstance(node, Supervisor):
                node.advance()

    def _stop_root(self) -> None:
        if self._root.running and self._root.state is not State.STOPPING:
            self._root.stop()
        elif not self._root.running and self._ended is None:
            self._end(Shutdown())

    def _abandon_all(self) -> None:
        for worker in list(self._watched):
            if worker.life is not None:
                worker.abandon(Abandoned(0.0, worker.life.stack()))
            self._settle()

    def _run(self) -> None:
        self._thread = threading.Thread(target=self._loop_until_over, name="supervision", daemon=True)
        self._thread.start()

    def _loop_until_over(self) -> None:
        try:
            while self._ended is None:
                self._loop.turn()
                if self._ended is None:
                    self._loop.pause()
        except Exception as error:  # noqa: BLE001 - a kernel that met its own bug must not go on
            self._fault(error)

    def _fault(self, error: Exception) -> None:
        self.emit(KernelFault(self._root.name, detached(error)[1]))
        for life in list(self._lives):
            life.fence()
        reason = GaveUp(f"the kernel met its own bug: {error!r}")
        self._started.give(error=StartFailed(str(reason)))
        self._end(reason)

    def _await(self, reply: Reply) -> None:
        if threading.current_thread() is self._thread:
            raise SupervisionError("a listener or monitor can't wait for the kernel, whose thread it runs in")
        while not self._pump(reply.done, 1.0):
            if self._ended is not None:
                raise NotRunning("the system has ended")
        if reply.error is not None:
            raise reply.error

    def _pump(self, event: threading.Event, timeout_seconds: float | None) -> bool:
        """Waits, in real seconds; a system driven by a test does the kernel's work meanwhile."""
        return event.wait(timeout_seconds)
