"""What a fault is to a drill: how it is applied, how long it lasts, which alarms it raises, and how it ends."""

import shutil
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from drills.environment import FINISH_SECONDS, Environment, Setting
from drills.states import State
from persistence.connection.errors import PersistenceError
from testkit.waiting import pause

LONG_SECONDS = 2.5
"""Longer than the breaker's reset time and the largest backoff of the drill's configuration."""
BRIEF_SECONDS = 0.3


def at_work(state: State) -> bool:
    """Whether the daemon has invoices in hand."""
    return state.has_work


def before_verdict(state: State) -> bool:
    """Whether it has invoices whose state is to change more than once."""
    return state.has_work and state.name != "storing_verdict"


def asks_erp(state: State) -> bool:
    """Whether it asks something of the ERP next."""
    return state.asks_erp


def finish(env: Environment, state: State) -> None:
    """Waits until all that was begun in this state is registered."""
    if state.has_work:
        state.after(env)
    env.wait_all_in("registered", FINISH_SECONDS)


@dataclass
class Fault:
    """A fault that does nothing: the base of all faults.

    `codes`: the alarms of which one has to be raised, if it is `lasting` and met, and else may be. `further_codes`:
    those of what it truly brings about besides. `silence_seconds`: at the most so long after the daemon meets it comes
    its first sign. `affects_one`: it is about one invoice, and the others go on.
    """

    codes: tuple[str, ...] = ()
    further_codes: tuple[str, ...] = ()
    lasting: bool = True
    lasts_seconds: float = LONG_SECONDS
    silence_seconds: float = 0.0
    affects_one: bool = False
    holds_some: bool = True
    """Whether invoices may be held because of it."""
    offers_again: bool = False
    """Whether what the ERP has may be offered to it again: it lied about it, or we have forgotten."""
    ends_process: bool = False
    """Whether the daemon may end by its own giving up."""
    alarm_after_end: bool = False
    """Whether its alarm is raised only when it is over, as by a process that was down."""
    replaces_hold: bool = False
    """Whether its action at a failpoint replaces the state's own, which lets the daemon go on."""
    setting: Setting = field(default_factory=Setting)
    books_within_seconds: float | None = None
    """Within how long of its end the first invoice is registered; None: it is not measured."""
    can_meet: Callable[[State], bool] = lambda _: True
    """Whether the daemon meets it in a state."""
    unmet_reason: str = "could not be met in this state"
    met: bool = True
    """Whether it has really touched the daemon."""
    target: str = ""
    """The invoice that it is about, if it affects one."""

    def prepare(self, env: Environment) -> None:
        """Called before the daemon starts."""

    def apply(self, env: Environment, state: State) -> None:
        """Begins the fault. The daemon is released from its state afterwards."""

    def release(self, env: Environment, state: State) -> None:
        """Lets the daemon go on from where it is held."""
        if not self.replaces_hold:
            state.release(env)

    def released(self, env: Environment, state: State) -> None:
        """Called once the daemon goes on and can meet the fault."""

    def first_sign(self, env: Environment) -> float | None:
        """When the daemon could notice it first, in wall seconds, if that was seen; else beginning and silence."""
        return None

    def wait(self, env: Environment, state: State) -> None:
        """Waits for as long as the fault lasts at least."""
        pause(self.lasts_seconds)

    def was_met(self, env: Environment) -> bool:
        """`met`, or what the environment shows of it before the end."""
        return self.met

    def end(self, env: Environment) -> None:
        """Ends the fault."""

    def afterwards(self, env: Environment) -> None:
        """All is done: what comes later may change nothing. Raises NotReached."""

    def unaffected(self, env: Environment) -> list[str]:
        """The invoices that go on meanwhile."""
        return [debt for debt in env.debts if debt != self.target]

    def close(self) -> None:
        """Removes what is left of the fault, whatever the drill came to."""


@dataclass
class Switched(Fault):
    """One call on the environment begins it, another ends it."""

    breaks: Callable[[Environment], object] = lambda _: None
    mends: Callable[[Environment], object] = lambda _: None

    def apply(self, env: Environment, state: State) -> None:
        self.breaks(env)

    def end(self, env: Environment) -> None:
        self.mends(env)


@dataclass
class SmallDisk(Fault):
    """A folder is a file system of 2 MB of its own, which becomes full; not met where none can be mounted."""

    mounted: Path | None = None

    def folder(self, env: Environment) -> Path:
        """Where it is mounted."""
        raise NotImplementedError

    def prepare(self, env: Environment) -> None:
        folder = self.folder(env)
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
        if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
            self.can_meet = lambda _: False
        else:
            self.mounted = folder

    def apply(self, env: Environment, state: State) -> None:
        if self.mounted is not None:
            with (self.mounted / ".full").open("wb", buffering=0) as file, suppress(OSError):
                while file.write(b"\0" * 4096):
                    pass

    def end(self, env: Environment) -> None:
        if self.mounted is not None:
            (self.mounted / ".full").unlink(missing_ok=True)

    def close(self) -> None:
        if self.mounted is not None:
            subprocess.run(["umount", "-l", str(self.mounted)], capture_output=True, check=False)


@dataclass
class InThread(Fault):
    """Another session's work, in a thread: it may have to wait for locks that the daemon holds in its state."""

    thread: threading.Thread | None = None

    def apply(self, env: Environment, state: State) -> None:
        self.thread = threading.Thread(target=self._work_or_fail, args=(env,), daemon=True)
        self.thread.start()
        self.thread.join(BRIEF_SECONDS)

    def work(self, env: Environment) -> None:
        """What the thread does; may raise PersistenceError."""

    def end(self, env: Environment) -> None:
        if self.thread is not None:
            self.thread.join(30)

    def _work_or_fail(self, env: Environment) -> None:
        with suppress(PersistenceError):
            self.work(env)


@dataclass
class Statements(InThread):
    """Statements of the superuser's make the daemon's fail, others undo them; `{target}` is the first invoice's id."""

    codes: tuple[str, ...] = ("database_error",)
    setup: str = ""
    """Run before the daemon starts."""
    begins: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()

    def prepare(self, env: Environment) -> None:
        if self.setup:
            with env.postgres.session() as connection:
                connection.exec_driver_sql(self.setup)

    def apply(self, env: Environment, state: State) -> None:
        self.target = env.debts[0]
        super().apply(env, state)

    def work(self, env: Environment) -> None:
        env.postgres.execute(*(each.format(target=self.target) for each in self.begins))

    def end(self, env: Environment) -> None:
        super().end(env)
        env.postgres.execute(*self.ends)
