"""Storms: seeded faults from all rows of the table, several at once, for a given time, then the same judge."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from drills.cell import CLEAR_SECONDS
from drills.checker import judge, standing_in_table
from drills.faults import Fault
from drills.faults_database import D1, D2, D3
from drills.faults_erp import E1, E2, E3
from drills.faults_server import S2, Restarted, frozen_process
from drills.run import play_each, prepared
from drills.stage import Setting, Stage
from drills.states import STATES
from drills.world import World
from persistence.connection.errors import PersistenceError
from supervision.clock import Randomness
from testkit.alarms_seen import supervision_events
from testkit.waiting import LOOK_SECONDS, NotReached, becomes_true, pause, wait_until

FINISH_SECONDS = 120.0
USERS = 8
MONTHS = ("2026-11-15", "2026-12-15", "2027-01-15", "2027-02-15", "2027-03-15", "2027-04-15")
# Not in a storm: what needs a stage of its own, lasts too long, or can't be told from the truth by anybody.
LEFT_OUT = {
    "disk_full", "tls_not_accepted", "restart_limit", "poison_invoice", "raises_on_every",
    "foreign_bill_id", "changed_bill_id", "step_back", "restored_while_down", "huge",
}  # fmt: skip
PROCESS_FAULTS = ("refused", "no_answer", "name_not_resolved")


@dataclass
class StormResult:
    """What a storm came to; `faults`: how many were injected, by failure and variant."""

    seed: int
    seconds: float
    invoices: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    recovery_seconds: float | None = None
    wrong: list[str] = field(default_factory=list)
    log: str | None = None

    @property
    def held(self) -> bool:
        return not self.wrong


class Storm:
    """One storm over one stage; each station has a thread that troubles it with one fault at a time."""

    def __init__(self, stage: Stage, seed: int, seconds: float) -> None:
        self.result = StormResult(seed, seconds)
        self._stage = stage
        self._over = threading.Event()
        self._months = list(MONTHS[1:])
        self._refusing = D2["row_refused"]()

    def rage(self) -> StormResult:
        """All of it."""
        stage = self._stage
        self._refusing.prepare(stage)
        stage.import_late_user()
        stage.daemon.start()
        gusts = (
            ("database", self._draw(D1, D2, D3), (0.5, 4.0)),
            ("ERP's process", self._draw({name: E1[name] for name in PROCESS_FAULTS}), (2.0, 6.0)),
            ("ERP's answers", self._draw(E1, E2, E3), (0.2, 1.5)),
            ("daemon", self._draw_end, (4.0, 9.0)),
            ("actors", self._draw(S2), (0.5, 4.0)),
        )
        threads = [threading.Thread(target=self._gust, args=gust, daemon=True) for gust in gusts]
        for thread in threads:
            thread.start()
        pause(self.result.seconds)
        self._over.set()
        for thread in threads:
            thread.join(90)
        self._calm()
        return self.result

    def _draw(self, *tables: Mapping[str, Callable[[], Fault]]) -> Callable[[Randomness], tuple[str, Fault]]:
        variants = [(name, make) for table in tables for name, make in table.items() if name not in LEFT_OUT]
        if tables[0] is E1 and len(tables) > 1:
            variants = [(name, make) for name, make in variants if name not in PROCESS_FAULTS]

        def draw(chance: Randomness) -> tuple[str, Fault]:
            name, make = chance.choice(variants)
            return name, self._refusing if name == "row_refused" else make()

        return draw

    def _draw_end(self, chance: Randomness) -> tuple[str, Fault]:
        """The process ends, perhaps until a later month, or stands still for a moment."""
        if chance.random() < 0.25:
            return "frozen", frozen_process()
        later = f"{self._months.pop(0)}T00:00:00Z" if self._months and chance.random() < 0.6 else None
        how = chance.choice((signal.SIGKILL, signal.SIGTERM))
        return ("down_over_a_month" if later else how.name.lower()), Restarted(how=how, later=later)

    def _gust(self, station: str, draw: Callable[[Randomness], tuple[str, Fault]], pauses: tuple[float, float]) -> None:
        chance = Randomness(f"{self.result.seed} {station}")
        states = [state for state in STATES.values() if state.has_work]
        while not self._over.wait(chance.uniform(*pauses)):
            name, fault = draw(chance)
            state, stands = chance.choice(states), chance.uniform(0.1, 3.0)
            try:
                fault.strike(self._stage, state)
                self._over.wait(stands)
            except (PersistenceError, httpx.HTTPError, OSError, ValueError) as error:
                # Another fault was quicker: its station isn't there to be troubled.
                self.result.faults[f"{name} (struck nothing: {type(error).__name__})"] += 1
                continue
            finally:
                self._end(fault)
            self.result.faults[name] += 1

    def _end(self, fault: Fault) -> None:
        """Ends a fault, again and again if another one of the storm is in its way."""

        def ended() -> bool:
            try:
                fault.end(self._stage)
            except (PersistenceError, httpx.HTTPError, OSError, ValueError, AssertionError):
                return False
            return True

        becomes_true(ended, 30)

    def _calm(self) -> None:
        """Everything is put right, then nothing may be lost, doubled or left standing."""
        stage, wrong = self._stage, self.result.wrong
        stage.failpoints.disable()
        stage.erp.thaw()
        stage.erp.start()
        stage.erp.clear_faults()
        if stage.daemon.pid is None:
            stage.daemon.start()
        calm_at = time.monotonic()
        try:
            wait_until(self._finished, within_seconds=FINISH_SECONDS, what="all is registered after the storm")
        except NotReached as error:
            wrong.append(f"{error}: {stage.states()}")
        self.result.recovery_seconds = round(time.monotonic() - calm_at, 2)
        becomes_true(lambda: not stage.daemon.alarms.standing() and not standing_in_table(stage), CLEAR_SECONDS)
        stage.daemon.kill(signal.SIGTERM)
        # While an actor is ordered not to start, a tree can't begin, or gives up; systemd starts another.
        path, ended = stage.daemon.log_path, stage.daemon.ends.unexpected
        refused = path.read_bytes().count(b"the daemon can't start: failpoint")
        orderly = refused + len(supervision_events(path, "GivenUp"))
        if set(ended) - {1} or len(ended) > orderly:
            wrong.append(f"the daemon ended by itself with {ended}, with reason {orderly} times")
        # In a storm the ERP lies about what it has, and the database is restored.
        wrong += judge(stage, offers_again=True)
        self.result.invoices = len(stage.debts)

    def _finished(self) -> bool:
        self._stage.retry_held()
        pause(LOOK_SECONDS)
        return self._stage.all_in("registered")


def run_storms(seeds: Sequence[int], seconds: float, folder: Path, tell: Callable[[StormResult], None]) -> bool:
    """Storms one after another, each with its seed; whether all of them held."""
    world = World(USERS, len(MONTHS))
    with prepared(world) as template:

        def plays() -> Iterator[tuple[Stage, Callable[[], StormResult]]]:
            for seed in seeds:
                stage = Stage(folder / f"storm-{seed}", template, world, Setting(named_host=True))
                yield stage, Storm(stage, seed, seconds).rage

        return play_each(plays(), tell)
