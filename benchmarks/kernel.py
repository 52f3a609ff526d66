"""What supervision costs, against bare pykka: a tell, a restart, a tree of 2,000 children."""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pykka

from supervision import Actor, ChildSpec, SupervisorSpec, System

MESSAGES = 100_000
CRASHES = 500
CHILDREN = 2_000
ROUNDS = 5


class Counter:
    """Counts messages and says when there are enough."""

    def __init__(self, enough: int) -> None:
        self.left = enough
        self.done = threading.Event()

    def count(self) -> None:
        """One more."""
        self.left -= 1
        if self.left == 0:
            self.done.set()


class Bare(pykka.ThreadingActor):
    """pykka alone."""

    use_daemon_thread = True

    def __init__(self, counter: Counter | None = None) -> None:
        super().__init__()
        self.counter = counter

    def on_receive(self, message: Any) -> None:  # noqa: ARG002 - whatever it is, it counts
        """Counts."""
        if self.counter is not None:
            self.counter.count()


class Supervised(Actor):
    """The same, supervised."""

    def __init__(self, counter: Counter | None = None) -> None:
        super().__init__()
        self.counter = counter

    def on_receive(self, message: Any) -> None:
        """Counts, or crashes."""
        if message == "crash":
            raise RuntimeError("crash")
        if self.counter is not None:
            self.counter.count()


def timed(action: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def tells_bare() -> float:
    """Seconds a message, sent and handled."""
    counter = Counter(MESSAGES)
    ref = Bare.start(counter)

    def run() -> None:
        for number in range(MESSAGES):
            ref.tell(number)
        counter.done.wait()

    seconds = timed(run)
    ref.stop()
    return seconds / MESSAGES


def tells_named() -> float:
    """Seconds a message, sent to a name and handled."""
    counter = Counter(MESSAGES)
    spec = ChildSpec("a", lambda: Supervised(counter), mailbox_limit=MESSAGES)
    system = System(SupervisorSpec("root", children=(spec,)))
    system.start()

    def run() -> None:
        for number in range(MESSAGES):
            system.tell("a", number)
        counter.done.wait()

    seconds = timed(run)
    system.stop()
    return seconds / MESSAGES


def restarts() -> list[float]:
    """Seconds from a crash to the new incarnation's first message, without backoff."""
    spec = SupervisorSpec(
        "root", children=(ChildSpec("a", Supervised),), max_restarts=CRASHES, backoff_base_seconds=0.0
    )
    system = System(spec)
    system.start()

    def crash() -> None:
        system.tell("a", "crash")
        system.ask("a", "hello", 5.0)

    found = [timed(crash) for _ in range(CRASHES)]
    system.stop()
    return found


def starts_bare() -> list[float]:
    """Seconds to start a bare pykka actor and have its first answer: what a restart costs at least."""

    def start() -> None:
        Bare.start().ask("hello")

    found = [timed(start) for _ in range(CRASHES)]
    pykka.ActorRegistry.stop_all()
    return found


def tree(children: int) -> tuple[float, float]:
    """Seconds to start and to stop a supervisor with so many children."""
    specs = tuple(ChildSpec(f"c{number}", Supervised) for number in range(children))
    system = System(SupervisorSpec("root", children=specs))
    return timed(system.start), timed(system.stop)


def crowd(children: int) -> tuple[float, float]:
    """The same with bare pykka actors and its registry."""

    def start() -> None:
        for _ in range(children):
            Bare.start()

    return timed(start), timed(pykka.ActorRegistry.stop_all)


def main() -> None:
    """Prints a table to standard error and one JSON document to standard output."""
    bare = min(tells_bare() for _ in range(ROUNDS))
    named = min(tells_named() for _ in range(ROUNDS))
    again, fresh = restarts(), starts_bare()
    crowds = crowd(CHILDREN)
    half, trees = tree(CHILDREN // 2), tree(CHILDREN)
    figures = {
        "tell_bare_us": bare * 1e6,
        "tell_named_us": named * 1e6,
        "tell_ratio": named / bare,
        "restart_ms_median": statistics.median(again) * 1e3,
        "restart_ms_p99": statistics.quantiles(again, n=100)[98] * 1e3,
        "bare_start_ms_median": statistics.median(fresh) * 1e3,
        "restart_ratio": statistics.median(again) / statistics.median(fresh),
        "tree_start_seconds": trees[0],
        "tree_stop_seconds": trees[1],
        "crowd_start_seconds": crowds[0],
        "crowd_stop_seconds": crowds[1],
        "tree_start_ratio": trees[0] / crowds[0],
        "tree_stop_ratio": trees[1] / crowds[1],
        "tree_growth_for_twice_the_children": sum(trees) / sum(half),
    }
    for name, value in figures.items():
        print(f"{name:40} {value:10.3f}", file=sys.stderr)
    json.dump({name: round(value, 4) for name, value in figures.items()}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
