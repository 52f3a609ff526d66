"""The supervisor: starts, restarts and stops its children by OTP's rules, and never waits in place."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from supervision import errors
from supervision.actor import StartThread
from supervision.events import Exited, GivenUp, Restarting
from supervision.kernel import Kernel, Node, NodeChanged, Question, State, Window
from supervision.mailbox import settle
from supervision.reasons import ChildFailed, Declined, GaveUp, Reason, Shutdown
from supervision.spec import AutoShutdown, ChildSpec, Restart, Spec, Strategy, SupervisorSpec
from supervision.timers import Timer
from supervision.worker import Worker


@dataclass
class _Sequence:
    """Children to stop in reverse order and then to start in order, one after another."""

    to_stop: list[Node] = field(default_factory=list)
    to_start: deque[Node] = field(default_factory=deque)
    not_before: float = 0.0
    current: Node | None = None

    def only_backs_off(self, now: float) -> bool:
        return self.current is None and not self.to_stop and now < self.not_before


class Supervisor(Node):
    """Advances whenever something has changed, as far as possible without waiting.

    During a backoff it answers and can be stopped. As in OTP a group restart starts every child of the group,
    also one that had ended for good or had been terminated.
    """

    spec: SupervisorSpec

    def __init__(self, spec: SupervisorSpec, kernel: Kernel, changed: NodeChanged, start_thread: StartThread) -> None:
        super().__init__(spec, kernel, changed)
        self._start_thread = start_thread
        self._reset()

    def _reset(self) -> None:
        self.ending: Reason | None = None
        self._window = Window(self.spec.max_restarts, self.spec.window_seconds)
        self._sequence: _Sequence | None = None
        self._exits: deque[tuple[Node, Exited]] = deque()
        self._requests: deque[tuple[Question, Callable[[], None]]] = deque()
        self._wake: Timer | None = None

    # As a node.

    def begin(self) -> None:
        self._reset()
        self._forget_dynamic()
        self.children = {spec.name: self._make(spec) for spec in self.spec.children}
        self._sequence = _Sequence(to_start=deque(self.children.values()))
        self.kernel.post_first(self.advance)

    def _make(self, spec: Spec) -> Node:
        arguments = (self.kernel, self._child_changed, self._start_thread)
        return Worker(spec, *arguments) if isinstance(spec, ChildSpec) else Supervisor(spec, *arguments)

    def _forget_dynamic(self) -> None:
        """Drops the children, here and below, that no specification names."""
        named = {spec.name for spec in self.spec.children}
        for node in list(self.children.values()):
            if isinstance(node, Supervisor):
                node._forget_dynamic()
            if node.name not in named:
                self._drop(node, "is gone with its supervisor's last incarnation")

    def halt(self) -> None:
        self.shut_down(Shutdown())

    def close(self, why: str) -> None:
        for child in self.children.values():
            child.close(why)

    def tick(self, seconds: float) -> None:  # noqa: ARG002 - a supervisor is never late
        self.kernel.post_first(self.advance)

    def advance(self) -> None:
        while self.running and self._step():
            pass

    def _step(self) -> bool:
        sequence = self._sequence
        if sequence is not None and not sequence.only_backs_off(self.kernel.clock.monotonic()):
            return self._go_on(sequence)
        if self._exits:
            self._exit(*self._exits.popleft())
            return True
        if self._requests:
            reply, command = self._requests.popleft()
            try:
                command()
            except Exception as error:  # noqa: BLE001 - it is the answer to the command
                settle(reply, error=error)
            return True
        return False

    def _go_on(self, sequence: _Sequence) -> bool:
        if sequence.current is not None:
            if sequence.current.running and sequence.current.state is not State.UP:
                return False
            sequence.current = None
        elif sequence.to_stop:
            node = sequence.to_stop.pop()
            if node.running:
                sequence.current = node
                node.stop()
            elif node.spec.restart is Restart.TEMPORARY:
                self._drop(node, "is gone")
        elif sequence.to_start:
            node = sequence.to_start.popleft()
            if not node.running:
                sequence.current = node
                node.start()
        else:
            self._sequence = None
            if self.ending is not None:
                self.went_down(self.ending)
            elif self.state is State.STARTING:
                self.went_up()
        return True

    def shut_down(self, reason: Reason) -> None:
        """Stops the children in reverse order (those of a pool at once) and ends for that reason."""
        self.kernel.post_first(self.advance)
        if self.ending is not None:
            return
        self.ending = reason
        for reply, _ in self._requests:
            settle(reply, error=errors.NotRunning(f"{self.name} is being stopped"))
        self._requests.clear()
        if self._wake is not None:
            self._wake.cancel()
        for node in self.children.values():
            node.cancel_retry()
        running = [node for node in self.children.values() if node.running]
        if self.spec.strategy is Strategy.POOL:
            for node in running:
                node.stop()
        self._sequence = _Sequence(to_stop=running)

    def give_up(self, detail: str) -> None:
        """Shuts down because restarting has not helped: a `shutdown` to its own supervisor."""
        if self.ending is None:
            reason = GaveUp(detail)
            self.kernel.emit(GivenUp(self.name, reason))
            self.shut_down(reason)

    # What its children report.

    def _child_changed(self, node: Node, was: State, notice: Exited | None) -> None:
        self.kernel.post_first(self.advance)
        if notice is None:
            node.answer(node.record.epoch)
            node.new = False
            return
        if node.up_since is not None and notice.uptime_seconds >= self.spec.stable_seconds:
            node.failures = 0
        if was is State.STARTING:
            self._start_ended(node, notice.reason)
        elif was is not State.STOPPING:
            self._exits.append((node, notice))
        else:
            node.answer(error=errors.StartFailed(f"{node.name} was stopped"))
            if node.terminated:
                self._terminated(node)
            elif node.spec.restart is Restart.TEMPORARY or node.new:
                self._drop(node, "is gone")

    def _start_ended(self, node: Node, reason: Reason) -> None:
        if isinstance(reason, Declined):
            node.answer()
            node.new = False
            self._will_not_return(node, "declined to start")
        elif node.command is not None:
            error = errors.StartFailed(f"{node.name}: {reason}")
            error.__cause__ = getattr(reason, "exception", None)
            node.answer(error=error)
            self._will_not_return(node, "did not start", forget=node.new)
        elif self.ending is None:
            if self.state is State.STARTING:
                self.shut_down(ChildFailed(node.name, reason))
            else:
                self._restart(node, reason)

    def _exit(self, node: Node, notice: Exited) -> None:
        is_present = self.children.get(node.name) is node and node.record.epoch == notice.epoch
        if not is_present or node.state is not State.DOWN:
            return  # it was restarted or removed meanwhile
        kind = node.spec.restart
        if kind is Restart.PERMANENT or (kind is Restart.TRANSIENT and notice.reason.abnormal):
            self._restart(node, notice.reason, exempt=isinstance(node, Worker) and node.exempts(notice))
            return
        self._will_not_return(node, "has ended")
        states = {each.state for each in self.children.values() if each.spec.significant}
        enough = self.spec.auto_shutdown is AutoShutdown.ANY_SIGNIFICANT or states <= {State.DOWN, State.DECLINED}
        if node.spec.significant and enough:
            self.shut_down(Shutdown(f"significant child {node.name} ended"))

    def _will_not_return(self, node: Node, why: str, forget: bool = False) -> None:
        if forget or node.spec.restart is Restart.TEMPORARY:
            self._drop(node, why)
        else:
            node.close(why)

    def _drop(self, node: Node, why: str) -> None:
        """Forgets a child that does not run."""
        node.cancel_retry()
        node.close(why)
        if self.children.get(node.name) is node:
            del self.children[node.name]
        if node in self._awaited:
            self._awaited.remove(node)
        self.kernel.remove(node)

    @property
    def _awaited(self) -> deque[Node]:  # of the present sequence
        return self._sequence.to_start if self._sequence is not None else deque()

    # Restarting.

    def _restart(self, node: Node, reason: Reason, exempt: bool = False) -> None:
        now = self.kernel.clock.monotonic()
        exceeded = [] if exempt else [each for each in (self._window, node.budget) if each and not each.allows(now)]
        if exceeded:
            detail = f"more than {exceeded[0].limit} restarts in {exceeded[0].seconds:g} s"
            self.give_up(f"{detail}, the last of {node.name}: {reason}")
            return
        # Full jitter below a cap that doubles: a child that fails at once must not use up its restarts in no time.
        cap_seconds = self.spec.backoff_base_seconds * 2.0 ** min(node.failures, 60)
        delay_seconds = self.kernel.randomness.uniform(0.0, min(cap_seconds, self.spec.backoff_max_seconds))
        node.failures += 1
        nodes = list(self.children.values())
        groups = {Strategy.ONE_FOR_ALL: nodes, Strategy.REST_FOR_ONE: nodes[nodes.index(node) :]}
        group = groups.get(self.spec.strategy)
        node.record.restarts += 1
        names = tuple(each.name for each in group or [node])
        self.kernel.emit(Restarting(node.name, self.name, reason, delay_seconds, names, exempt))
        if group is None:
            node.retry_after(delay_seconds)
        else:
            self._restart_group(group, node, now + delay_seconds)

    def _restart_group(self, group: list[Node], failed: Node, due: float) -> None:
        """Stops the group and starts it again when due; includes a group that waits already."""
        if self._sequence is not None and self._sequence.to_start:
            due = max(due, self._sequence.not_before)
            included = {*self._sequence.to_start, *group}
            group = [each for each in self.children.values() if each in included]
        to_stop = [each for each in group if each is not failed]
        to_start = deque(each for each in group if each.spec.restart is not Restart.TEMPORARY)
        self._sequence = _Sequence(to_stop, to_start, due)
        failed.state = State.RESTARTING
        self._wake = self.kernel.after(due - self.kernel.clock.monotonic(), self.advance)

    # Commands.

    def request(self, reply: Question, command: Callable[[], None]) -> None:
        """Runs the command as soon as no start or stop is under way. What it raises is the answer."""
        if not self.running or self.ending is not None:
            settle(reply, error=errors.NotRunning(f"{self.name} is not running"))
            return
        self._requests.append((reply, command))
        self.kernel.post_first(self.advance)

    def start_child(self, spec: Spec, reply: Question) -> None:
        """Starts one more child. The answer is its epoch (None if it declined); one that fails isn't kept."""
        limit = self.spec.max_children
        self.spec.check_child(spec)
        present = self.children.get(spec.name)
        if present is not None:
            error = errors.AlreadyPresent if present.state in (State.DOWN, State.DECLINED) else errors.AlreadyStarted
            raise error(f"{spec.name} is {present.state}")
        if clash := self.kernel.nodes.keys() & {each.name for each in spec.flatten()}:
            raise errors.SpecError(f"the name {min(clash)} is taken")
        if limit is not None and len(self.children) >= limit:
            raise errors.StartFailed(f"{self.name} has its {limit} children")
        node = self._make(spec)
        node.new = True
        node.command = reply
        self.children[spec.name] = node
        node.start()

    def terminate_child(self, name: str, reply: Question) -> None:
        """Stops a child, or ends its restart loop. Answered when it is down; its specification stays."""
        node = self._child(name)
        node.terminated.append(reply)
        node.cancel_retry()
        if node in self._awaited:
            self._awaited.remove(node)
        if node.running:
            node.stop()
        else:
            self._terminated(node)

    def _terminated(self, node: Node) -> None:
        self._will_not_return(node, "has been terminated")
        for reply in node.terminated:
            settle(reply)
        node.terminated.clear()

    def restart_child(self, name: str, reply: Question) -> None:
        """Starts a child that is down. The answer is its epoch (None if it declined)."""
        node = self._child_at_rest(name)
        node.command = reply
        node.start()

    def delete_child(self, name: str, reply: Question) -> None:
        """Forgets a child that is down."""
        self._drop(self._child_at_rest(name), "is deleted")
        settle(reply)

    def _child(self, name: str) -> Node:
        if name not in self.children:
            raise errors.UnknownName(f"{self.name} has no child {name}")
        return self.children[name]

    def _child_at_rest(self, name: str) -> Node:
        node = self._child(name)
        if node.state is State.RESTARTING or node in self._awaited:
            raise errors.ChildRestarting(f"{name} is being restarted")
        if node.running:
            raise errors.ChildRunning(f"{name} is {node.state}")
        return node
