"""The actors and helpers that the kernel's tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from supervision import (
    Actor,
    ChildSpec,
    Decline,
    Event,
    Exited,
    Randomness,
    Reason,
    Spec,
    Strategy,
    SupervisorSpec,
)
from tests.support.supervision import DrivenSystem, InlineThreads

E = TypeVar("E", bound=Event)


class BoomError(Exception):
    """What the tests' actors die of."""


class FullWait(Randomness):
    """Chance that always gives the longest wait."""

    def uniform(self, a: float, b: float) -> float:
        """The upper end."""
        return max(a, b)


class Probes:
    """What the actors of one test share: a diary, and who is to fail how."""

    def __init__(self) -> None:
        self.diary: list[tuple[str, str, int]] = []
        self.failing_starts: dict[str, float] = {}
        self.declining: set[str] = set()
        self.raising_in_stop: dict[str, BaseException] = {}
        self.got: list[tuple[str, int, Any]] = []

    def child(self, name: str, **options: Any) -> ChildSpec:
        """A worker of this probes."""
        return ChildSpec(name, lambda: Probe(self), **options)

    def children(self, names: str, **options: Any) -> tuple[ChildSpec, ...]:
        """One worker for each envelope."""
        return tuple(self.child(name, **options) for name in names)

    def notes(self, what: str) -> list[str]:
        """The names in the diary to which that happened, in order."""
        return [name for happened, name, _ in self.diary if happened == what]

    def clear(self) -> None:
        """Forgets what has been written so far."""
        self.diary.clear()


class Probe(Actor):
    """Does what it is told: crash, exit, end, shut down, tell."""

    def __init__(self, probes: Probes) -> None:
        super().__init__()
        self.probes = probes

    def on_start(self) -> None:
        self.probes.diary.append(("start", self.name, self.epoch))
        if self.name in self.probes.declining:
            raise Decline("feature off")
        if self.probes.failing_starts.get(self.name, 0) > 0:
            self.probes.failing_starts[self.name] -= 1
            raise BoomError(f"{self.name} can't start")

    def on_receive(self, message: Any) -> Any:
        self.probes.got.append((self.name, self.epoch, message))
        match message:
            case "crash":
                raise BoomError("told to")
            case "exit":
                sys.exit(0)
            case "end":
                self.stop()
            case Reason():
                self.stop(message)
            case ("tell", name, text):
                self.tell(name, text)
            case ("call", function):
                return function(self)
        return (self.name, self.epoch)

    def on_stop(self) -> None:
        self.probes.diary.append(("stop", self.name, self.epoch))
        if self.name in self.probes.raising_in_stop:
            raise self.probes.raising_in_stop[self.name]


def root(*children: Spec, **options: Any) -> SupervisorSpec:
    """A root that restarts at once, so that tests say when they are about backoff."""
    options.setdefault("backoff_base_seconds", 0.0)
    return SupervisorSpec("root", options.pop("strategy", Strategy.ONE_FOR_ONE), children, **options)


def sub(name: str, *children: Spec, **options: Any) -> SupervisorSpec:
    """A supervisor below the root that restarts at once."""
    options.setdefault("backoff_base_seconds", 0.0)
    return SupervisorSpec(name, options.pop("strategy", Strategy.ONE_FOR_ONE), children, **options)


def started(spec: SupervisorSpec, threads: InlineThreads | None = None, **options: Any) -> DrivenSystem:
    """A driven system that is up."""
    system = DrivenSystem(spec, threads, **options)
    system.start()
    return system


def kill(system: DrivenSystem, name: str, how: Any = "crash") -> None:
    """Has a worker end, and lets the tree come to rest without time passing."""
    system.tell(name, how)
    system.settle()


def row(system: DrivenSystem, name: str) -> dict[str, Any]:
    """That name's row of the tree."""

    def find(node: dict[str, Any]) -> dict[str, Any] | None:
        if node["name"] == name:
            return node
        return next((found for child in node["children"] if (found := find(child))), None)

    found = find(system.tree())
    assert found is not None, f"{name} is not in the tree"
    return found


def states(system: DrivenSystem) -> dict[str, str]:
    """The state of everyone in the tree, by name."""

    def walk(node: dict[str, Any]) -> dict[str, str]:
        return {node["name"]: node["state"]} | {k: v for c in node["children"] for k, v in walk(c).items()}

    return walk(system.tree())


def epochs(system: DrivenSystem, *names: str) -> list[int]:
    """Which incarnation answers under each name."""
    return [system.ask(name, "who", 5.0)[1] for name in names]


def of(system: DrivenSystem, kind: type[E], name: str | None = None) -> list[E]:
    """The events of that kind, of that name if one is given."""
    return [e for e in system.events if isinstance(e, kind) and (name is None or e.name == name)]


def last_exit(system: DrivenSystem, name: str) -> Exited:
    """The latest exit notice of that name."""
    return of(system, Exited, name)[-1]


def raised(action: Callable[[], object]) -> Exception | None:
    """What the action raises."""
    try:
        action()
    except Exception as error:  # noqa: BLE001 - the test looks at whatever it is
        return error
    return None
