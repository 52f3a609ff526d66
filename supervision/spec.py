"""The specifications of children and supervisors, checked before anything starts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import StrEnum

import pykka

from supervision.errors import SpecError
from supervision.events import Exited


class Restart(StrEnum):
    """When a child that ended is started again."""

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """Only if it ended abnormally: not after normal, shutdown, or a supervisor's giving up."""
    TEMPORARY = "temporary"
    """Never, not even with its neighbours; its specification is forgotten."""


class Strategy(StrEnum):
    """Which children are restarted together with one that ended."""

    ONE_FOR_ONE = "one_for_one"
    """No other."""
    ONE_FOR_ALL = "one_for_all"
    """All others: stopped in reverse order, then all started in order."""
    REST_FOR_ONE = "rest_for_one"
    """Those started after it."""
    POOL = "pool"
    """No other; the children are alike and are stopped at the same time: OTP's simple_one_for_one."""


class AutoShutdown(StrEnum):
    """Whether a supervisor ends when its significant children have ended by themselves."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


class Mailbox(StrEnum):
    """What becomes of messages to a name that is between two incarnations."""

    KEEP = "keep"
    """They wait for the next incarnation, up to the mailbox's limit."""
    REFUSE = "refuse"
    """The sender gets NotRunning; those that waited are reported as undelivered."""


def _check(spec: Spec, owner: str) -> None:
    """Checks each field against its declared type and what the two specifications have in common. Raises SpecError."""
    for each in fields(spec):
        value, kind = getattr(spec, each.name), str(each.type)
        if value is None and kind.endswith("| None"):
            continue
        least = 1 if each.name == "mailbox_limit" else 0
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        must = None
        if kind.startswith("float") and not (number and value >= 0):
            must = "be a finite number >= 0"
        elif kind.startswith("int") and not (number and isinstance(value, int) and value >= least):
            must = f"be a whole number >= {least}"
        elif kind == "str" and not (isinstance(value, str) and value):
            must = "be a text that is not empty"
        elif kind.startswith("Callable") and not callable(value):
            must = "be callable"
        elif isinstance(each.default, StrEnum) and not isinstance(value, type(each.default)):
            must = f"be one of {', '.join(type(each.default))}"
        if must:
            raise SpecError(f"{owner}: {each.name} must {must}, not {value!r}")
    if spec.significant and spec.restart is Restart.PERMANENT:
        raise SpecError(f"{owner}: significant makes no sense with restart permanent")


@dataclass(frozen=True)
class ChildSpec:
    """One worker: how it is made, and what its supervisor promises it. Durations are seconds.

    - `factory` makes the actor, in its own thread, anew for each incarnation.
    - `start_seconds`: by then its `on_start` has ended, or the start has failed.
    - `shutdown_seconds`: after being told to stop; at half of it what it registered with `on_unblock` is
      called, at the end it is abandoned. 0 is no grace: OTP's `brutal_kill` as far as a thread can be killed.
    - `hang_seconds`: busy with one message for longer, it is written off; None for never.
    - `max_restarts` within `window_seconds`: its own limit besides its supervisor's; None for none.
    - `exempt_from_max_restarts`: asked, in the kernel's thread, about each crash or hang after the child had
      come up. If it returns True, the restart counts neither against the supervisor's `max_restarts` nor
      against the child's own; the README says more.
    - `max_exempt_restarts` within `window_seconds`: exits beyond it count like others.

    Raises SpecError, naming the field.
    """

    name: str
    factory: Callable[[], pykka.ThreadingActor]
    restart: Restart = Restart.PERMANENT
    start_seconds: float = 30.0
    shutdown_seconds: float = 5.0
    hang_seconds: float | None = 60.0
    significant: bool = False
    mailbox_limit: int = 10_000
    while_down: Mailbox = Mailbox.KEEP
    max_restarts: int | None = None
    window_seconds: float = 60.0
    exempt_from_max_restarts: Callable[[Exited], bool] | None = None
    max_exempt_restarts: int = 30

    def __post_init__(self) -> None:
        _check(self, f"child {self.name}")

    def flatten(self) -> list[Spec]:
        return [self]


@dataclass(frozen=True)
class SupervisorSpec:
    """One supervisor and its children, in the order in which they are started. Durations are seconds.

    After more than `max_restarts` within `window_seconds` it gives up: it stops its children in reverse
    order and ends, which its own supervisor treats as any child's end. Each failed restart counts too.
    Before a restart it waits: `backoff_base_seconds`, doubled with each failure in a row up to
    `backoff_max_seconds`, with full jitter. `stable_seconds` of uptime end the row.

    Raises SpecError, naming the field.
    """

    name: str
    strategy: Strategy = Strategy.ONE_FOR_ONE
    children: tuple[Spec, ...] = ()
    max_restarts: int = 10
    window_seconds: float = 60.0
    backoff_base_seconds: float = 0.1
    backoff_max_seconds: float = 10.0
    stable_seconds: float = 60.0
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    restart: Restart = Restart.PERMANENT
    significant: bool = False
    max_children: int | None = None

    def __post_init__(self) -> None:
        _check(self, f"supervisor {self.name}")
        object.__setattr__(self, "children", tuple(self.children))
        for child in self.children:
            self.check_child(child)
        name, count = Counter(each.name for each in self.flatten()).most_common(1)[0]
        if count > 1:
            raise SpecError(f"supervisor {self.name}: the name {name} stands twice")

    def check_child(self, child: Spec) -> None:
        """Raises SpecError if the child can't be one of this supervisor's."""
        if not isinstance(child, ChildSpec | SupervisorSpec):
            raise SpecError(f"supervisor {self.name}: {child!r} is no specification of a child")
        if child.significant and self.auto_shutdown is AutoShutdown.NEVER:
            raise SpecError(f"supervisor {self.name}: child {child.name} is significant, auto_shutdown never")

    def flatten(self) -> list[Spec]:
        """Itself and all below it, in the order of their start."""
        return [self, *(each for child in self.children for each in child.flatten())]


Spec = ChildSpec | SupervisorSpec


def pool(supervisor: SupervisorSpec, size: int, like: Callable[[int], ChildSpec]) -> SupervisorSpec:
    """That supervisor with `size` children that are alike, `like(1)` to `like(size)`. Raises SpecError."""
    if size < 0:
        raise SpecError(f"supervisor {supervisor.name}: size must be >= 0, not {size}")
    children = tuple(like(number) for number in range(1, size + 1))
    return replace(supervisor, strategy=Strategy.POOL, children=children)
