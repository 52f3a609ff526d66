"""What an operator or a program may ask of a running tree: dynamic children, monitors, counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from supervision.errors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildRestarting,
    ChildRunning,
    SpecError,
    StartFailed,
    UnknownName,
)
from supervision.node import Node, Reply, State
from supervision.spec import Spec, SupervisorSpec
from supervision.supervisor import Supervisor

__all__ = ["Counts", "Monitor", "delete", "restart", "start_new", "terminate"]


@dataclass(frozen=True)
class Counts:
    """Of one supervisor: specifications listed, children up, and how many are supervisors and workers."""

    specs: int
    active: int
    supervisors: int
    workers: int


class Monitor:
    """A watch over one incarnation: tells its end once, unless cancelled."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.cancel = cancel


def start_new(
    parent: Supervisor, spec: Spec, taken: dict[str, Node], make: Callable[[], Node]
) -> Callable[[Reply], None]:
    """The command start_child: the reply is the epoch (None if it declined), or the error; a failed one isn't kept."""

    def act(reply: Reply) -> None:
        limit = parent.spec.max_children
        try:
            parent.spec.check_child(spec)
            present = parent.children.get(spec.name)
            if present is not None:
                error = AlreadyPresent if present.state in (State.DOWN, State.DECLINED) else AlreadyStarted
                raise error(f"{spec.name} is {present.state}")
            names = spec.names() if isinstance(spec, SupervisorSpec) else {spec.name}
            if clash := names & taken.keys():
                raise SpecError(f"the name {min(clash)} is taken")
            if limit is not None and len(parent.children) >= limit:
                raise StartFailed(f"{parent.name} has its {limit} children")
        except Exception as error:  # noqa: BLE001 - handed to the one who asked
            reply.give(error=error)
            return
        node = make()
        node.new = True
        node.command = reply
        parent.children[spec.name] = node
        node.start()

    return act


def terminate(parent: Supervisor, name: str) -> Callable[[Reply], None]:
    """The command terminate_child: answered when it is down; its specification stays unless temporary."""

    def act(reply: Reply) -> None:
        node = parent.children.get(name)
        if node is None:
            reply.give(error=UnknownName(f"{parent.name} has no child {name}"))
            return
        node.terminated.append(reply)
        parent.terminate(node)

    return act


def restart(parent: Supervisor, name: str) -> Callable[[Reply], None]:
    """The command restart_child: the reply is the new epoch, or the error."""

    def act(reply: Reply) -> None:
        node = _at_rest(parent, name, reply)
        if node is not None:
            node.command = reply
            node.start()

    return act


def delete(parent: Supervisor, name: str) -> Callable[[Reply], None]:
    """The command delete_child: forgets the specification of a child that is down."""

    def act(reply: Reply) -> None:
        node = _at_rest(parent, name, reply)
        if node is not None:
            parent.drop(node, "is deleted")
            reply.give()

    return act


def _at_rest(parent: Supervisor, name: str, reply: Reply) -> Node | None:
    node = parent.children.get(name)
    if node is None:
        reply.give(error=UnknownName(f"{parent.name} has no child {name}"))
    elif node.state is State.RESTARTING or parent.awaits(node):
        reply.give(error=ChildRestarting(f"{name} is being restarted"))
    elif node.running:
        reply.give(error=ChildRunning(f"{name} is {node.state}"))
    else:
        return node
    return None
