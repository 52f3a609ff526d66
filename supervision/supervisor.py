"""A supervisor: starts, restarts and stops its children by OTP's rules, never waiting in place."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from supervision.errors import NotRunning, StartFailed
from supervision.events import Exited, GivenUp, Restarting, Started
from supervision.node import Core, Node, Reply, State
from supervision.reasons import ChildFailed, Declined, GaveUp, Reason, Shutdown
from supervision.restarts import Window
from supervision.spec import AutoShutdown, Restart, Spec, Strategy, SupervisorSpec
from supervision.timers import Timer

__all__ = ["Supervisor"]

MakeNode = Callable[[Spec, "Supervisor"], Node]


@dataclass
class _Cycle:
    """Children to be stopped in reverse order and then started in order, one after another."""

    to_start: deque[Node]
    to_stop: list[Node] = field(default_factory=list)
    not_before: float = 0.0
    current: Node | None = None

    def rests(self, now: float) -> bool:
        """Whether only its backoff is waited for: the supervisor is free for other things."""
        return self.current is None and not self.to_stop and now < self.not_before


class Supervisor(Node):
    """Goes on whenever something has changed (`advance`), as far as can be gone without waiting.

    - Children start in order, each when the one before is up; if one fails, those before are stopped in
      reverse order and the start has failed.
    - A child that ended is restarted as its type and the strategy say, after a backoff during which the
      supervisor answers and can be stopped. A failed restart counts like another crash and is tried again.
    - Over the limit it gives up: stops its children in reverse order and ends, as OTP's `shutdown`.
    - As in OTP a group restart starts every child of the group, also one that had ended for good or had
      been terminated; temporary ones are forgotten.
    """

    spec: SupervisorSpec

    def __init__(self, spec: SupervisorSpec, core: Core, parent: Supervisor | None, make: MakeNode) -> None:
        super().__init__(spec, core, parent)
        self._make = make
        self.children: dict[str, Node] = {}
        self.winding: Reason | None = None
        """Why it is ending; None while it is not."""
        self._clear()

    def _clear(self) -> None:
        self._window = Window(self.spec.max_restarts, self.spec.window_seconds)
        self._cycle: _Cycle | None = None
        self._initial = False
        self._exits: deque[tuple[Node, int, Reason]] = deque()
        self._requests: deque[tuple[Reply, Callable[[Reply], None]]] = deque()
        self._to_stop: list[Node] = []
        self._wake: Timer | None = None

    # As a child of its own supervisor.

    def begin(self) -> None:
        """Starts its children, made anew from the specification, with fresh counts."""
        self._clear()
        self.winding = None
        self.forget_dynamic()
        self.children = {spec.name: self._make(spec, self) for spec in self.spec.children}
        self._initial = True
        self._cycle = _Cycle(deque(self.children.values()))
        self.core.touch(self)

    def forget_dynamic(self) -> None:
        """Drops the children, here and below, that no specification names: they are not started again."""
        named = {spec.name for spec in self.spec.children}
        for node in list(self.children.values()):
            if isinstance(node, Supervisor):
                node.forget_dynamic()
            if node.name not in named:
                self.drop(node, "is gone with its supervisor's last incarnation")

    def halt(self) -> None:
        """Stops its children in reverse order."""
        self.wind_down(Shutdown())

    def rest(self, why: str) -> None:
        """Nobody below it takes messages any more."""
        for child in self.children.values():
            child.rest(why)

    # What its children report.

    def child_up(self, node: Node) -> None:
        """A child's start has ended well."""
        if node.command is not None:
            node.command.give(self.core.record(node.name).epoch)
            node.command = None
        node.new = False
        self.core.touch(self)

    def child_down(self, node: Node, was: State, reason: Reason) -> None:
        """A child has ended: expected, in its start, or of its own accord."""
        self.core.touch(self)
        if was is State.STOPPING:
            if node.command is not None:
                node.command.give(error=StartFailed(f"{node.name} was stopped"))
                node.command = None
            if node.terminated:
                self._terminated(node)
            elif node.spec.restart is Restart.TEMPORARY or node.new:
                self.drop(node, "is gone")
        elif was is State.STARTING:
            self._start_ended(node, reason)
        else:
            self._exits.append((node, self.core.record(node.name).epoch, reason))

    def _start_ended(self, node: Node, reason: Reason) -> None:
        if isinstance(reason, Declined):
            if node.command is not None:
                node.command.give(None)
                node.command = None
            node.new = False
            self._will_not_return(node, "declined to start")
        elif node.command is not None:
            error = StartFailed(f"{node.name}: {reason}")
            error.__cause__ = getattr(reason, "exception", None)
            node.command.give(error=error)
            node.command = None
            self._will_not_return(node, "did not start", forget=node.new)
        elif self.winding is not None:
            return
        elif self._initial:
            self.wind_down(ChildFailed(node.name, reason))
        else:
            self._restart(node, reason)

    def _exit(self, node: Node, epoch: int, reason: Reason) -> None:
        if (
            self.children.get(node.name) is not node
            or node.state is not State.DOWN
            or self.core.record(node.name).epoch != epoch
        ):
            return  # restarted or removed meanwhile: that end is history
        kind = node.spec.restart
        if kind is Restart.PERMANENT or (kind is Restart.TRANSIENT and reason.abnormal):
            self._restart(node, reason)
            return
        self._will_not_return(node, "has ended")
        if node.spec.significant and self._shuts_down():
            self.wind_down(Shutdown(f"significant child {node.name} ended"))

    def _shuts_down(self) -> bool:
        if self.spec.auto_shutdown is AutoShutdown.ALL_SIGNIFICANT:
            left = (State.DOWN, State.DECLINED)
            return all(n.state in left for n in self.children.values() if n.spec.significant)
        return self.spec.auto_shutdown is AutoShutdown.ANY_SIGNIFICANT

    def _will_not_return(self, node: Node, why: str, forget: bool = False) -> None:
        if forget or node.spec.restart is Restart.TEMPORARY:
            self.drop(node, why)
        else:
            node.rest(why)

    def terminate(self, node: Node) -> None:
        """Stops a child by command, or ends its restart loop; `node.terminated` is answered when it is down."""
        node.cancel_retry()
        if self._cycle is not None and node in self._cycle.to_start:
            self._cycle.to_start.remove(node)
        if not node.running:
            self._terminated(node)
        elif node.state is not State.STOPPING:
            node.stop()

    def _terminated(self, node: Node) -> None:
        self._will_not_return(node, "has been terminated")
        for reply in node.terminated:
            reply.give()
        node.terminated.clear()

    def awaits(self, node: Node) -> bool:
        """Whether a group restart under way will start that child."""
        return self._cycle is not None and node in self._cycle.to_start

    def drop(self, node: Node, why: str) -> None:
        """Forgets a child that does not run."""
        node.cancel_retry()
        node.rest(why)
        if self.children.get(node.name) is node:
            del self.children[node.name]
        if self._cycle is not None and node in self._cycle.to_start:
            self._cycle.to_start.remove(node)
        self.core.leave(node)

    # Restarting.

    def _restart(self, node: Node, reason: Reason) -> None:
        now = self.core.now()
        allowed = self._window.allows(now)
        if node.budget is not None:
            allowed = node.budget.allows(now) and allowed
        if not allowed:
            whose = self.spec if self._window.exceeded else node.spec
            detail = f"more than {whose.max_restarts} restarts in {whose.window_seconds:g} s"
            self.give_up(f"{detail}, the last of {node.name}: {reason}")
            return
        assert node.backoff is not None
        delay = node.backoff.next_seconds()
        group = self._group(node)
        self.core.record(node.name).restarts += 1
        names = tuple(each.name for each in group)
        self.core.emit(Restarting(node.name, self.name, reason, delay, names))
        if self.spec.strategy in (Strategy.ONE_FOR_ONE, Strategy.POOL):
            node.retry_after(delay)
            return
        self._cycle_through(group, node, now + delay)

    def _cycle_through(self, group: list[Node], culprit: Node, due: float) -> None:
        """Stops the group and starts it again when due; a cycle that was waiting already becomes part of it."""
        waiting = self._cycle
        if waiting is not None and waiting.to_start:
            due = max(due, waiting.not_before)
            awaited = set(waiting.to_start)
            group = [each for each in self.children.values() if each in awaited or each in group]
        self._cycle = _Cycle(
            deque(each for each in group if each.spec.restart is not Restart.TEMPORARY),
            [each for each in group if each is not culprit],
            due,
        )
        culprit.state = State.RESTARTING
        self._wake = self.core.after(due - self.core.now(), lambda: self.core.touch(self))

    def _group(self, node: Node) -> list[Node]:
        if self.spec.strategy in (Strategy.ONE_FOR_ONE, Strategy.POOL):
            return [node]
        nodes = list(self.children.values())
        return nodes if self.spec.strategy is Strategy.ONE_FOR_ALL else nodes[nodes.index(node) :]

    def give_up(self, detail: str) -> None:
        """Stops everything below and ends: a `shutdown` to its own supervisor."""
        reason = GaveUp(detail)
        self.core.emit(GivenUp(self.name, reason))
        self.wind_down(reason)

    # Going on.

    def advance(self) -> None:
        """Goes as far as can be gone without waiting."""
        while self.running and self._step():
            pass

    def _step(self) -> bool:
        if self.winding is not None:
            return self._wind_down_step()
        cycle = self._cycle
        if cycle is not None and not cycle.rests(self.core.now()):
            return self._cycle_step(cycle)
        if self._exits:
            self._exit(*self._exits.popleft())
            return True
        if self._requests:
            reply, action = self._requests.popleft()
            action(reply)
            return True
        return False

    def _cycle_step(self, cycle: _Cycle) -> bool:
        if cycle.current is not None:
            if cycle.current.running and cycle.current.state is not State.UP:
                return False
            cycle.current = None
        elif cycle.to_stop:
            node = cycle.to_stop.pop()
            if node.running:
                cycle.current = node
                node.stop()
            elif node.spec.restart is Restart.TEMPORARY:
                self.drop(node, "is gone")
        elif cycle.to_start:
            node = cycle.to_start.popleft()
            if not node.running:
                cycle.current = node
                node.start()
        else:
            self._cycle = None
            if self._initial:
                self._initial = False
                self.core.emit(Started(self.name, self.core.record(self.name).epoch))
                self.went_up()
        return True

    def request(self, reply: Reply, action: Callable[[Reply], None]) -> None:
        """Has an operator's command done as soon as no start or stop is under way."""
        if not self.running or self.winding is not None:
            reply.give(error=NotRunning(f"{self.name} is not running"))
            return
        self._requests.append((reply, action))
        self.core.touch(self)

    # Winding down.

    def wind_down(self, reason: Reason) -> None:
        """Stops the children in reverse order (those of a pool at once) and ends for that reason."""
        self.core.touch(self)
        if self.winding is not None:
            return
        self.winding = reason
        self._cycle = None
        for reply, _ in self._requests:
            reply.give(error=NotRunning(f"{self.name} is being stopped"))
        self._requests.clear()
        if self._wake is not None:
            self._wake.cancel()
        for node in self.children.values():
            node.cancel_retry()
        self._to_stop = [node for node in self.children.values() if node.running]
        if self.spec.strategy is Strategy.POOL:
            self._stop_all(self._to_stop)

    @staticmethod
    def _stop_all(nodes: Iterable[Node]) -> None:
        for node in nodes:
            if node.running and node.state is not State.STOPPING:
                node.stop()

    def _wind_down_step(self) -> bool:
        if self._to_stop:
            node = self._to_stop[-1]
            if not node.running:
                self._to_stop.pop()
                return True
            if node.state is State.STOPPING:
                return False
            node.stop()
            return True
        assert self.winding is not None
        expected = self.state is State.STOPPING
        epoch = self.core.record(self.name).epoch
        self.core.exited(Exited(self.name, epoch, self.winding, (), expected, self.uptime_seconds()))
        self.went_down(self.winding)
        return False
