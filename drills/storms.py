"""Storms: seeded faults from all rows of the table, several at once, for a given time, then the same judge."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from drills.environment import Environment, Setting
from drills.faults.fault import Fault
from drills.faults.server import Restarted
from drills.judge import judge
from drills.run import Verdict, run_each
from drills.states import STATES
from drills.table import FAILURES, make
from drills.workload import Workload
from persistence.connection.errors import PersistenceError
from supervision.clock import Randomness
from testkit.daemon_log import supervision_events
from testkit.waiting import LOOK_SECONDS, NotReached, becomes_true, pause, wait_until

FINISH_SECONDS = 120.0
USERS = 8
MONTHS = ("2026-11-15", "2026-12-15", "2027-01-15", "2027-02-15", "2027-03-15", "2027-04-15")
# Not in a storm: faults that need an environment of their own, last too long, or look like the truth.
EXCLUDED = {
    "disk_full", "tls_not_accepted", "restart_limit", "poison_invoice", "raises_on_every",
    "foreign_bill_id", "changed_bill_id", "step_back", "restored_while_down", "restored_under_running_daemon", "huge",
}  # fmt: skip
IN_THE_WAY = (PersistenceError, httpx.HTTPError, OSError, ValueError)
"""The errors of a fault that can't be injected because another fault has taken its station away."""
PROCESS_FAULTS = ("refused", "no_answer", "name_not_resolved")


Draw = Callable[[Randomness], tuple[str, Fault]]


@dataclass
class StormResult(Verdict):
    """What a storm came to; `faults`: how many were injected, by variant."""

    seed: int = 0
    invoices: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    recovery_seconds: float | None = None

    def said(self) -> str:
        return (
            f"storm of {self.seconds:g} s, seed {self.seed}: {self.faults.total()} faults of {len(self.faults)} kinds, "
            f"{self.invoices} invoices, all registered {self.recovery_seconds} s after its end"
        )


class Storm:
    """One storm over one environment; a thread for each station injects one fault at a time."""

    def __init__(self, env: Environment, seed: int, seconds: float) -> None:
        self.result = StormResult(seconds, seed=seed)
        self._env = env
        self._over = threading.Event()
        self._months = list(MONTHS[1:])
        self._refusing = make("D2", "row_refused")

    def run(self) -> StormResult:
        env = self._env
        self._refusing.prepare(env)
        env.import_late_user()
        env.daemon.start()
        injectors = (
            ("database", self._draw("D1", "D2", "D3"), (0.5, 4.0)),
            ("ERP's process", self._draw("E1", only=PROCESS_FAULTS), (2.0, 6.0)),
            ("ERP's answers", self._draw("E1", "E2", "E3", but=PROCESS_FAULTS), (0.2, 1.5)),
            ("daemon", self._draw_end, (4.0, 9.0)),
            ("actors", self._draw("S2"), (0.5, 4.0)),
        )
        threads = [threading.Thread(target=self._inject, args=injector, daemon=True) for injector in injectors]
        for thread in threads:
            thread.start()
        pause(self.result.seconds)
        self._over.set()
        for thread in threads:
            thread.join(90)
        self._recover()
        return self.result

    def _draw(self, *failures: str, only: Collection[str] = (), but: Collection[str] = ()) -> Draw:
        variants = [
            (failure, name) for failure in failures for name in FAILURES[failure]
            if name not in EXCLUDED and name not in but and (not only or name in only)
        ]  # fmt: skip

        def draw(chance: Randomness) -> tuple[str, Fault]:
            failure, name = chance.choice(variants)
            return name, self._refusing if name == "row_refused" else make(failure, name)

        return draw

    def _draw_end(self, chance: Randomness) -> tuple[str, Fault]:
        """The process ends, perhaps until a later month, or stands still for a moment."""
        if chance.random() < 0.25:
            return "frozen", make("S1", "frozen")
        later = f"{self._months.pop(0)}T00:00:00Z" if self._months and chance.random() < 0.6 else None
        how = chance.choice((signal.SIGKILL, signal.SIGTERM))
        return ("down_over_a_month" if later else how.name.lower()), Restarted(how=how, later=later)

    def _inject(self, station: str, draw: Draw, pauses: tuple[float, float]) -> None:
        chance = Randomness(f"{self.result.seed} {station}")
        states = [state for state in STATES.values() if state.has_work]
        while not self._over.wait(chance.uniform(*pauses)):
            name, fault = draw(chance)
            state, stands = chance.choice(states), chance.uniform(0.1, 3.0)
            try:
                fault.apply(self._env, state)
                self._over.wait(stands)
                self.result.faults[name] += 1
            except IN_THE_WAY:
                continue  # `finally` ends it all the same
            except Exception as error:  # noqa: BLE001 - no station may be left in peace unnoticed
                self.result.wrong.append(f"{name} could not be injected: {type(error).__name__}: {error}")
            finally:
                self._end(fault)

    def _end(self, fault: Fault) -> None:
        """Ends a fault, again and again if another one of the storm is in its way."""

        def ended() -> bool:
            try:
                fault.end(self._env)
            except (*IN_THE_WAY, AssertionError):
                return False
            return True

        becomes_true(ended, 30)

    def _recover(self) -> None:
        """Ends all faults. Then nothing may be lost or doubled, and no alarm may stand."""
        env, wrong = self._env, self.result.wrong
        env.failpoints.disable()
        env.erp.thaw()
        env.erp.start()
        env.erp.clear_faults()
        if env.daemon.pid is None:
            env.daemon.start()
        recovered_from = time.monotonic()
        try:
            wait_until(self._finished, within_seconds=FINISH_SECONDS, what="all is registered after the storm")
        except NotReached as error:
            wrong.append(f"{error}: {env.states()}")
        self.result.recovery_seconds = round(time.monotonic() - recovered_from, 2)
        env.wait_alarms_cleared()
        env.daemon.kill(signal.SIGTERM)
        # While an actor is ordered not to start, a tree can't begin, or gives up; systemd starts another.
        path, ended = env.daemon.log_path, env.daemon.unexpected_ends
        refused = path.read_bytes().count(b"the daemon can't start: failpoint")
        orderly = refused + len(supervision_events(path, "GivenUp"))
        if set(ended) - {1} or len(ended) > orderly:
            wrong.append(f"the daemon ended by itself with {ended}, with reason {orderly} times")
        # In a storm the ERP lies about what it has, and the database is restored.
        wrong += judge(env, offers_again=True)
        self.result.invoices = len(env.debts)

    def _finished(self) -> bool:
        self._env.retry_held()
        pause(LOOK_SECONDS)
        return self._env.all_in("registered")


def run_storm(seed: int, seconds: float, folder: Path, tell: Callable[[str], None]) -> bool:
    """Runs one storm; whether it held."""
    drills = {f"storm-{seed}": lambda env: Storm(env, seed, seconds).run()}
    return run_each(drills, Workload(USERS, len(MONTHS)), Setting(named_host=True), folder, tell)
