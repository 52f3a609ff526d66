"""Supervision trees with the semantics of OTP, for thread actors."""
# ruff: noqa: I001 - a list of names is no code: many stand on one line
# fmt: off

from supervision.actor import Actor, Incarnation, dump_stacks, start_thread
from supervision.clock import Clock, Randomness, SystemClock, system_randomness
from supervision.errors import (
    AlreadyPresent, AlreadyStarted, AskFailed, ChildRestarting, ChildRunning, Decline, Fenced, MailboxFull,
    NotAttempted, NotRunning, OutcomeUnknown, SpecError, StartFailed, SupervisionError, UnknownName,
)
from supervision.events import (
    Event, Exited, GivenUp, KernelFault, Listener, Restarting, Started, Undelivered, WrittenOff, WrittenOffEnded,
    fan_out, log_events,
)
from supervision.kernel import Monitor
from supervision.reasons import (
    Abandoned, ChildFailed, Crashed, Declined, FailedToStart, GaveUp, Hung, Normal, Reason, Shutdown, StartOverdue,
    StopFailed, ThreadNotStarted, Unstarted,
)
from supervision.spec import AutoShutdown, ChildSpec, Mailbox, Restart, Spec, Strategy, SupervisorSpec, pool
from supervision.system import Counts, Ended, EndKind, Progress, System
from supervision.timers import Timer

__all__ = [
    "Abandoned", "Actor", "AlreadyPresent", "AlreadyStarted", "AskFailed", "AutoShutdown", "ChildFailed",
    "ChildRestarting", "ChildRunning", "ChildSpec", "Clock", "Counts", "Crashed", "Decline", "Declined", "EndKind",
    "Ended", "Event", "Exited", "FailedToStart", "Fenced", "GaveUp", "GivenUp", "Hung", "Incarnation",
    "KernelFault", "Listener", "Mailbox", "MailboxFull", "Monitor", "Normal", "NotAttempted", "NotRunning",
    "OutcomeUnknown", "Progress", "Randomness", "Reason", "Restart", "Restarting", "Shutdown", "Spec", "SpecError",
    "StartFailed", "StartOverdue", "Started", "StopFailed", "Strategy", "SupervisionError", "SupervisorSpec",
    "System", "SystemClock", "ThreadNotStarted", "Timer", "Undelivered", "UnknownName", "Unstarted", "WrittenOff",
    "WrittenOffEnded", "dump_stacks", "fan_out", "log_events", "pool", "start_thread", "system_randomness",
]
