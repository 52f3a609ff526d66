"""The events of the kernel: one for each thing that happens to a child or supervisor."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import Any

from supervision.reasons import Reason


@dataclass(frozen=True)
class Event:
    """Something happened to the child or supervisor of this name."""

    name: str


@dataclass(frozen=True)
class Started(Event):
    """Its start has ended well."""

    epoch: int


@dataclass(frozen=True)
class Exited(Event):
    """The one exit notice of an incarnation, with the messages that it was handling (several after `take_waiting`).

    `expected` says that it had been told to stop. `uptime_seconds` is 0 if it never came up.
    """

    epoch: int
    reason: Reason
    in_hand: tuple[Any, ...] = ()
    expected: bool = False
    uptime_seconds: float = 0.0


@dataclass(frozen=True)
class Restarting(Event):
    """It will be started again, with its `group` in order; if `exempt`, this does not count against `max_restarts`."""

    supervisor: str
    reason: Reason
    delay_seconds: float
    group: tuple[str, ...]
    exempt: bool = False


@dataclass(frozen=True)
class WrittenOff(Event):
    """Its thread is left to itself, fenced; `alive` counts such threads of the whole system, this one too."""

    epoch: int
    reason: Reason
    alive: int


@dataclass(frozen=True)
class WrittenOffEnded(Event):
    """A thread that had been written off has ended after all."""

    epoch: int


@dataclass(frozen=True)
class GivenUp(Event):
    """A supervisor stops its children and ends, because restarting has not helped."""

    reason: Reason


@dataclass(frozen=True)
class Undelivered(Event):
    """Messages that waited for a child that will not take them any more."""

    messages: tuple[Any, ...]


@dataclass(frozen=True)
class KernelFault(Event):
    """The kernel has met a state that should not exist. It goes on, unless the system ends right after."""

    problem: str


Listener = Callable[[Event], None]
"""Hears every event, in the kernel's thread. It must be quick; what it raises is counted and ignored."""

_INFO, _ERROR = (Started, WrittenOffEnded), (WrittenOff, GivenUp, KernelFault)
_TRACES: dict[type[Event], str] = {WrittenOff: "stack", Exited: "traceback"}


def log_events(logger: logging.Logger) -> Listener:
    """A listener that makes each event one bounded log record, with its fields as `supervision_<field>`."""

    def listen(event: Event) -> None:
        is_info = isinstance(event, _INFO) or (isinstance(event, Exited) and not event.reason.abnormal)
        level = logging.INFO if is_info else logging.ERROR if isinstance(event, _ERROR) else logging.WARNING
        values = {field.name: str(getattr(event, field.name))[:2000] for field in fields(event)}
        extra = {f"supervision_{key}": value for key, value in values.items()}
        text = ", ".join(f"{key}={value[:300]}" for key, value in values.items() if key != "name")
        trace = getattr(getattr(event, "reason", None), _TRACES.get(type(event), ""), "")[-8000:]
        if trace:
            extra["supervision_stack"] = trace
            text += f"\n{trace}"
        kind = extra["supervision_event"] = type(event).__name__
        logger.log(level, "%s %s: %s", kind, event.name, text, extra=extra)

    return listen


def fan_out(*listeners: Listener) -> Listener:
    """One listener out of several. If one raises, the others still hear the event."""

    def listen(event: Event) -> None:
        with ExitStack() as calls:  # it makes every call, and raises only then
            for each in reversed(listeners):
                calls.callback(each, event)

    return listen
