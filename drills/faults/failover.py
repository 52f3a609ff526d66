"""Failovers (D4): the database's primary is lost, its standby is promoted, and the old primary may come back."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from drills.environment import FINISH_SECONDS, Environment, Setting
from drills.faults.database import ANSWER_SECONDS, UNREACHABLE
from drills.faults.fault import Fault, finish
from drills.states import State
from testkit.standby import HAPROXY
from testkit.waiting import NotReached

HEARTBEAT_SECONDS = 5.0
HUNG_AT_MOST = 8
"""Sessions that wait for a synchronous standby: the daemon has six connections, and the drill looks now and then."""


@dataclass
class Failover(Fault):
    """The primary ends, and its standby is promoted; `comes_back` lets it appear again when all is done."""

    codes: tuple[str, ...] = UNREACHABLE
    setting: Setting = field(default_factory=lambda: Setting(standby="asynchronous", found_by="hosts"))
    books_within_seconds: float | None = 4.0
    breaks: Callable[[Environment], object] = lambda env: env.postgres.stop(signal.SIGKILL)
    comes_back: Callable[[Environment], object] | None = None

    def apply(self, env: Environment, state: State) -> None:
        env.pair.wait_until_caught_up()
        self.breaks(env)

    def end(self, env: Environment) -> None:
        env.promote()

    def afterwards(self, env: Environment) -> None:
        """The old primary is there again, and is found first: nothing of what is new may go there."""
        if self.comes_back is None:
            return
        pair = env.pair
        self.comes_back(env)
        pair.proxy.cut()
        if not env.late:
            env.import_late_user()
        env.wait_all_in("registered", FINISH_SECONDS)
        newest = "SELECT 1 FROM invoices WHERE state = 'registered' AND id = ANY(:ids)"
        if pair.former.rows(newest, ids=[debt for debt in env.debts if env.workload.is_late(debt)]):
            raise NotReached("nothing new on the old primary")


@dataclass
class FailoverWithLoss(Failover):
    """The standby lacks all that was done since this state, which the ERP has."""

    lasting: bool = False

    def apply(self, env: Environment, state: State) -> None:
        env.pair.wait_until_caught_up()
        env.pair.replication.close()

    def wait(self, env: Environment, state: State) -> None:
        finish(env, state)

    def end(self, env: Environment) -> None:
        self.breaks(env)
        env.promote()


@dataclass
class SynchronousStandbyGone(Fault):
    """No COMMIT is answered while the standby is away; sessions that wait for it are few, however long that takes."""

    codes: tuple[str, ...] = ("database_error",)
    setting: Setting = field(default_factory=lambda: Setting(standby="synchronous", found_by="hosts"))
    silence_seconds: float = ANSWER_SECONDS + HEARTBEAT_SECONDS

    def apply(self, env: Environment, state: State) -> None:
        env.pair.standby.stop(signal.SIGKILL)

    def was_met(self, env: Environment) -> bool:
        hung = len(env.postgres.rows("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"))
        if hung > HUNG_AT_MOST:
            raise NotReached(f"at most {HUNG_AT_MOST} sessions that wait for the standby, not {hung}")
        return True

    def end(self, env: Environment) -> None:
        env.pair.standby.start()


def cut_off(env: Environment) -> None:
    """The network to the primary is cut: it goes on, and nobody reaches it."""
    env.proxy.target_port = 1
    env.proxy.cut()


def reach_again(env: Environment) -> None:
    """The old primary is reached again."""
    env.proxy.target_port = env.pair.former.port


def failover_by_haproxy() -> Fault:
    """A failover, if HAProxy is there to lead the daemon."""
    if HAPROXY is None:
        return Fault(lasting=False, can_meet=lambda _: False, unmet_reason="HAProxy is not installed")
    return Failover(setting=Setting(standby="asynchronous", found_by="haproxy"))
