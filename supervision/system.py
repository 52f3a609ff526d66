"""A running tree as its owner sees it: start and stop, messages, commands, what stands where."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Any, NamedTuple

import pykka

from supervision import errors
from supervision.actor import StartThread, start_thread
from supervision.clock import Clock, Randomness, SystemClock, system_randomness
from supervision.events import Exited, KernelFault, Listener, Undelivered
from supervision.kernel import Kernel, Monitor, Node, Question, State
from supervision.mailbox import Envelope, settle
from supervision.reasons import ChildFailed, GaveUp, Reason, Shutdown, Unstarted, detached
from supervision.spec import ChildSpec, Spec, SupervisorSpec
from supervision.supervisor import Supervisor
from supervision.worker import Worker


class EndKind(StrEnum):
    """How a system ended."""

    STOPPED = "stopped"
    GAVE_UP = "gave_up"


class Ended(NamedTuple):
    """The end of a system: stopped by its owner or by itself, or given up on; `reason` is the root's."""

    kind: EndKind
    reason: Reason


class Progress(NamedTuple):
    """What a watchdog may go by: `rounds` grows, and the last one, with so many supervisors, is `age_seconds` old."""

    rounds: int
    age_seconds: float
    supervisors: int


class Counts(NamedTuple):
    """Of one supervisor: specifications listed, children up, and how many are supervisors and workers."""

    specs: int
    active: int
    supervisors: int
    workers: int


class System:
    """A tree of supervisors and actors, driven by one thread.

    - `start_thread` runs an incarnation in a thread. It raises if the machine refuses one.
    - `on_event` hears every event, in the kernel's thread; of an exit before the next incarnation starts.
    - `tick_seconds`: how often hangs and budgets are checked.
    - `written_off_limit`: with more written-off threads alive, the root gives up; its `max_restarts` if not given.
    - `full_mailbox_seconds`: how long an actor's `tell` waits for room.
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
        self.ended: Ended | None = None
        """How it ended; None while it goes on."""
        limit = root.max_restarts if written_off_limit is None else written_off_limit
        randomness = randomness or system_randomness()
        self._kernel = Kernel(self.clock, randomness, on_event, tick_seconds, limit, full_mailbox_seconds)
        for spec in root.flatten():
            if isinstance(spec, ChildSpec):
                self._kernel.add_mailbox(spec)
        self._root = Supervisor(root, self._kernel, self._root_changed, start_thread)
        self._kernel.give_up = self._root.give_up
        self._thread: threading.Thread | None = None
        self._begun = False
        self._started = Question()
        self._over = Question()

    # Start and stop.

    def start(self) -> None:
        """Starts the tree; returns when every child is up.

        Raises StartFailed, with the child's exception as its cause, after what had started is stopped.
        """
        if self._begun:
            raise errors.SupervisionError("a system is started once")
        self._begun = True
        self._kernel.post(self._root.start)
        self._run()
        self._await(self._started)

    def stop(self, timeout_seconds: float | None = None) -> Ended:
        """Stops the tree in reverse order, within the children's budgets.

        After `timeout_seconds` each child that still has to stop gets one tick for it, and is abandoned then.
        Harmless when it has ended, or was never started. Raises SupervisionError if it still has not
        ended as long again, and 5 seconds, later: then the kernel itself is stuck in a listener.
        """
        if not self._begun:
            self._begun = True
            self._stop_root()
        self._kernel.post(self._stop_root)
        if ended := self.wait(timeout_seconds):
            return ended
        self._kernel.grace_seconds = self._kernel.tick_seconds
        if ended := self.wait(None if timeout_seconds is None else timeout_seconds + 5.0):
            return ended
        raise errors.SupervisionError("the kernel does not go on: a listener, monitor or on_unblock blocks it")

    def wait(self, timeout_seconds: float | None = None) -> Ended | None:
        """Waits for the system's end, in real seconds; None if it goes on."""
        with suppress(pykka.Timeout):
            self._get(self._over, timeout_seconds)
        return self.ended

    def _stop_root(self) -> None:
        if self._root.running:
            self._root.stop()
        elif self.ended is None:
            self._end(Shutdown())

    def _root_changed(self, root: Node, _: State, notice: Exited | None) -> None:
        if notice is None:
            settle(self._started)
            return
        reason = notice.reason
        error = errors.StartFailed(f"{root.name}: {reason}")
        while isinstance(reason, ChildFailed) and isinstance(reason.reason, ChildFailed):
            reason = reason.reason
        error.__cause__ = getattr(getattr(reason, "reason", None), "exception", None)
        settle(self._started, error=error)
        self._end(reason)

    def _end(self, reason: Reason) -> None:
        for name, record in self._kernel.records.items():
            if record.mailbox is not None and (left := record.mailbox.refuse("is gone: the system has ended")):
                self._kernel.emit(Undelivered(name, left))
        self.ended = Ended(EndKind.GAVE_UP if isinstance(reason, GaveUp | ChildFailed) else EndKind.STOPPED, reason)
        settle(self._over)

    def _run(self) -> None:
        self._thread = threading.Thread(target=self._run_until_over, name="supervision", daemon=True)
        self._thread.start()

    def _run_until_over(self) -> None:
        try:
            while self.ended is None:
                self._kernel.turn()
                if self.ended is None:
                    self._kernel.pause()
        except BaseException as error:  # noqa: BLE001 - a kernel that met its own bug must not go on
            self._kernel.emit(KernelFault(self._root.name, detached(error)[1]))
            for node in self._kernel.nodes.values():
                if isinstance(node, Worker) and node.incarnation is not None:
                    node.incarnation.fence()
            reason = GaveUp(f"the kernel met its own bug: {error!r}")
            settle(self._started, error=errors.StartFailed(str(reason)))
            self._end(reason)

    def _await(self, reply: Question) -> Any:
        if threading.current_thread() is self._thread:
            raise errors.SupervisionError("a listener or monitor can't wait for the kernel, whose thread it runs in")
        while True:
            try:
                return self._get(reply, 1.0)
            except pykka.Timeout:
                if self.ended is not None:
                    raise errors.NotRunning("the system has ended") from None

    def _get(self, question: Question, timeout_seconds: float | None) -> Any:
        """Raises pykka.Timeout after real seconds. A system that a test drives does the kernel's work here."""
        return question.get(timeout=timeout_seconds)

    # Messages.

    def tell(self, name: str, message: Any, timeout_seconds: float = 0.0) -> None:
        """Sends a message, after waiting at most that long for room. Raises UnknownName, NotRunning, MailboxFull."""
        self._kernel.tell(None, name, message, timeout_seconds)

    def ask(self, name: str, message: Any, timeout_seconds: float) -> Any:
        """The answer of the present or next incarnation of that name, in bounded time.

        Raises UnknownName; NotAttempted (never begun, asking again is safe); AskFailed (it raised, and
        crashed of it); OutcomeUnknown (begun, and no answer in time).
        """
        mailbox = self._kernel.mailbox(name)
        question = Question()
        envelope = Envelope(message, reply_to=question)
        try:
            mailbox.put(envelope)
        except (errors.NotRunning, errors.MailboxFull) as error:
            raise errors.NotAttempted(str(error)) from error
        try:
            return self._get(question, timeout_seconds)
        except pykka.Timeout:
            if mailbox.withdraw(envelope):
                raise errors.NotAttempted(f"{name} did not come to it in {timeout_seconds:g} s") from None
            raise errors.OutcomeUnknown(f"{name} gave no answer in {timeout_seconds:g} s") from None

    def waiting_messages(self) -> dict[str, int]:
        """How many messages wait for each name."""
        records = list(self._kernel.records.items())
        return {name: len(each.mailbox) for name, each in records if each.mailbox is not None}

    # Dynamic children: as OTP's, answered when done. Not to be called from a listener or monitor.

    def start_child(self, supervisor: str, spec: Spec) -> int | None:
        """Starts one more child of that supervisor; its epoch, None if it declined.

        It is forgotten when its supervisor is restarted. Raises StartFailed (it is not kept then),
        AlreadyStarted, AlreadyPresent, SpecError, UnknownName, NotRunning.
        """
        return self._command(self._supervisor(supervisor), Supervisor.start_child, spec)

    def terminate_child(self, name: str) -> None:
        """Stops a child, or ends its restart loop; a temporary one is forgotten. Raises UnknownName, NotRunning."""
        self._command(self._parent(name), Supervisor.terminate_child, name)

    def restart_child(self, name: str) -> int | None:
        """Starts a child that is down; its epoch, None if it declined. Raises as `delete_child`, and StartFailed."""
        return self._command(self._parent(name), Supervisor.restart_child, name)

    def delete_child(self, name: str) -> None:
        """Forgets a child that is down. Raises ChildRunning, ChildRestarting, UnknownName, NotRunning."""
        self._command(self._parent(name), Supervisor.delete_child, name)

    def count_children(self, supervisor: str) -> Counts:
        """Raises UnknownName."""
        nodes = list(self._supervisor(supervisor).children.values())
        supervisors = sum(isinstance(node, Supervisor) for node in nodes)
        active = sum(node.state is State.UP for node in nodes)
        return Counts(len(nodes), active, supervisors, len(nodes) - supervisors)

    def _command(self, parent: Supervisor, command: Callable[..., None], subject: object) -> int | None:
        reply = Question()
        self._kernel.post(lambda: parent.request(reply, lambda: command(parent, subject, reply)))
        epoch: int | None = self._await(reply)
        return epoch

    def _supervisor(self, name: str) -> Supervisor:
        node = self._kernel.nodes.get(name)
        if not isinstance(node, Supervisor):
            raise errors.UnknownName(f"no supervisor is named {name}")
        return node

    def _parent(self, name: str) -> Supervisor:
        for node in list(self._kernel.nodes.values()):
            if isinstance(node, Supervisor) and name in node.children:
                return node
        raise errors.UnknownName(f"no child is named {name}")

    # What stands where.

    def monitor(self, name: str, callback: Callable[[Exited], None]) -> Monitor:
        """Calls back once, in the kernel's thread, when the present incarnation ends.

        If there is none, at once, with the last one's exit notice; a name that never lived gives
        an Exited of epoch 0 with the reason Unstarted.
        """
        monitor = Monitor(callback)
        self._kernel.post(lambda: self._watch(name, monitor))
        return monitor

    def _watch(self, name: str, monitor: Monitor) -> None:
        node, record = self._kernel.nodes.get(name), self._kernel.records[name]
        if node is not None and node.running:
            record.monitors.append(monitor)
        else:
            self._kernel.notify(monitor.callback, record.last_exit or Exited(name, 0, Unstarted()))

    def progress(self) -> Progress:
        supervisors = sum(isinstance(node, Supervisor) for node in list(self._kernel.nodes.values()))
        return Progress(self._kernel.rounds, self.clock.monotonic() - self._kernel.last_round, supervisors)

    def tree(self) -> dict[str, Any]:
        """The tree as plain data. Each row is true; two rows may have been read a moment apart."""
        return self._describe(self._root)

    def _describe(self, node: Node) -> dict[str, Any]:
        return {
            "name": node.name,
            "state": str(node.state),
            "restarts": node.record.restarts,
            "last_reason": None if node.last_reason is None else str(node.last_reason)[:500],
            "children": [self._describe(child) for child in list(node.children.values())],
        }

    @property
    def listener_failures(self) -> int:
        """How often a listener or monitor has raised."""
        return self._kernel.listener_failures
