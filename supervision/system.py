"""A running tree: its names, its clockwork and its operators' commands."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from supervision import commands
from supervision.clock import Clock, Randomness, SystemClock, system_randomness
from supervision.engine import Ended, Engine
from supervision.errors import (
    NotRunning,
    SupervisionError,
    UnknownName,
)
from supervision.events import Exited, Listener
from supervision.incarnation import StartThread, start_thread
from supervision.mailbox import Envelope
from supervision.names import Names
from supervision.node import Node, Reply, State
from supervision.reasons import Unstarted
from supervision.spec import Spec, SupervisorSpec
from supervision.supervisor import Supervisor

__all__ = ["Progress", "System"]


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

    - `start_thread` runs an incarnation in a thread; it raises if the machine refuses one.
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
        self._names = Names(full_mailbox_seconds)
        self._engine = Engine(
            root,
            self.clock,
            randomness or system_randomness(),
            start_thread,
            on_event,
            tick_seconds,
            root.max_restarts if written_off_limit is None else written_off_limit,
            self._names,
        )
        self._thread: threading.Thread | None = None
        self._begun = False

    # For its owner.

    def start(self) -> None:
        """Starts the tree; returns when every child is up.

        Raises StartFailed, with the child's exception as its cause, after what had started is stopped.
        """
        if self._begun:
            raise SupervisionError("a system is started once")
        self._begun = True
        self._engine.loop.post(self._engine.root.start)
        self._run()
        self._await(self._engine.started)

    def stop(self, timeout_seconds: float | None = None) -> Ended:
        """Stops the tree in reverse order, within the children's budgets.

        After `timeout_seconds` whoever still has to stop has one tick for it, and is abandoned then.
        Harmless when it has ended, or was never started. Raises SupervisionError if it still has not
        ended as long again, and 5 seconds, later: then the kernel itself is stuck in a listener.
        """
        engine = self._engine
        if not self._begun:
            self._begun = True
            engine.stop_root()
        engine.loop.post(engine.stop_root)
        if not self._pump(engine.over, timeout_seconds):
            engine.loop.post(engine.hurry)
            late_seconds = None if timeout_seconds is None else timeout_seconds + 5.0
            if not self._pump(engine.over, late_seconds):
                raise SupervisionError("the kernel does not go on: a listener, monitor or on_unblock blocks it")
        assert engine.ended is not None
        return engine.ended

    def wait(self, timeout_seconds: float | None = None) -> Ended | None:
        """Waits for the system's end, in real seconds; None if it goes on."""
        self._pump(self._engine.over, timeout_seconds)
        return self._engine.ended

    @property
    def ended(self) -> Ended | None:
        """EndKind it ended; None while it goes on."""
        return self._engine.ended

    def progress(self) -> Progress:
        """What a watchdog may go by."""
        supervisors = sum(isinstance(node, Supervisor) for node in list(self._engine.nodes.values()))
        return Progress(self._engine.loop.rounds, self.clock.monotonic() - self._engine.loop.last_round, supervisors)

    def tree(self) -> dict[str, Any]:
        """The tree as plain data: name, state, restarts, last_reason, children.

        Each row is true; two rows may have been looked at a moment apart.
        """
        return self._describe(self._engine.root)

    def _describe(self, node: Node) -> dict[str, Any]:
        children = list(node.children.values()) if isinstance(node, Supervisor) else []
        return {
            "name": node.name,
            "state": str(node.state),
            "restarts": self._names.record(node.name).restarts,
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
        made = commands.start_new(parent, spec, self._engine.nodes, lambda: self._engine.make(spec, parent))
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

        self._engine.loop.post(lambda: self._monitor(name, once))
        return commands.Monitor(cancelled.set)

    def _monitor(self, name: str, callback: Callable[[Exited], None]) -> None:
        node = self._engine.nodes.get(name)
        if node is not None and node.running:
            self._names.record(name).monitors.append(callback)
            return
        self._engine.notify(callback, self._names.last_exit(name) or Exited(name, 0, Unstarted()))

    def _command(self, parent: Supervisor, action: Callable[[Reply], None]) -> Any:
        reply = Reply()
        self._engine.loop.post(lambda: parent.request(reply, action))
        self._await(reply)
        return reply.value

    def _supervisor(self, name: str) -> Supervisor:
        node = self._engine.nodes.get(name)
        if not isinstance(node, Supervisor):
            raise UnknownName(f"no supervisor is named {name}")
        return node

    def _parent(self, name: str) -> Supervisor:
        node = self._engine.nodes.get(name)
        if node is None or node.parent is None:
            raise UnknownName(f"no child is named {name}")
        return node.parent

    # Messages.

    def tell(self, name: str, message: Any, timeout_seconds: float = 0.0) -> None:
        """Sends a message to whoever holds that post, now or next; waits at most that long for room.

        Raises UnknownName, NotRunning, MailboxFull.
        """
        self._names.mailbox(name).put(Envelope(message), None, timeout_seconds)

    def ask(self, name: str, message: Any, timeout_seconds: float) -> Any:
        """The answer of whoever holds that post, in bounded time.

        Raises UnknownName; NotAttempted (never begun, asking again is safe); AskFailed (it raised, and
        crashed of it); OutcomeUnknown (begun, and no answer in time).
        """
        return self._names.ask(name, message, timeout_seconds)

    def waiting_messages(self) -> dict[str, int]:
        """EndKind many messages wait for each name."""
        return self._names.waiting()

    # Its thread.

    @property
    def listener_failures(self) -> int:
        """EndKind often a listener or monitor has raised."""
        return self._engine.listener_failures

    def _run(self) -> None:
        run = self._engine.run_until_over
        self._thread = threading.Thread(target=run, name="supervision", daemon=True)
        self._thread.start()

    def _await(self, reply: Reply) -> None:
        if threading.current_thread() is self._thread:
            raise SupervisionError("a listener or monitor can't wait for the kernel, whose thread it runs in")
        while not self._pump(reply.done, 1.0):
            if self._engine.ended is not None:
                raise NotRunning("the system has ended")
        if reply.error is not None:
            raise reply.error

    def _pump(self, event: threading.Event, timeout_seconds: float | None) -> bool:
        """Waits, in real seconds; a system driven by a test does the kernel's work meanwhile."""
        return event.wait(timeout_seconds)
