"""The errors that the kernel raises to its callers."""
# ruff: noqa: N818 - they are named after what has happened, as in OTP

from __future__ import annotations


class SupervisionError(Exception):
    """Root of the kernel's errors."""


class SpecError(SupervisionError, ValueError):
    """A specification is refused before anything is started; the text names the field."""


class Decline(SupervisionError):
    """Raised by a child's `on_start` to say that it has nothing to do here: OTP's `ignore`."""


class StartFailed(SupervisionError):
    """A child, or a whole tree, did not come up; `__cause__` is the child's own exception, if it had one."""


class Fenced(SupervisionError):
    """This incarnation is over (ended or written off): what it still sends is refused."""


class UnknownName(SupervisionError, LookupError):
    """The tree has no worker (or supervisor) of that name."""


class NotRunning(SupervisionError):
    """The name exists, but takes no message now."""


class MailboxFull(SupervisionError):
    """The receiver did not make room in time; the message was not taken."""


class AskFailed(SupervisionError):
    """The actor raised while it handled the question, and crashed; `__cause__` is what it raised."""


class NotAttempted(SupervisionError):
    """The question was never begun: asking again is safe."""


class OutcomeUnknown(SupervisionError):
    """The question was begun and its end is unknown: it may have had its effect."""


class AlreadyStarted(SupervisionError):
    """`start_child`: a child of that name is running."""


class AlreadyPresent(SupervisionError):
    """`start_child`: a child of that name is listed, not running; `restart_child` or `delete_child` it."""


class ChildRunning(SupervisionError):
    """`restart_child`, `delete_child`: the child is running."""


class ChildRestarting(SupervisionError):
    """`restart_child`, `delete_child`: the child is being restarted already."""
