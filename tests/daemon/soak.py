"""Imports, replacements and corrections without end beside a working daemon, and what each of them came to."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path

from sqlalchemy import text

from billing.invoice import Invoice, calculate
from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.errors import PersistenceError
from persistence.invoices import corrections
from persistence.invoices.calculation_inputs import fetch_inputs
from persistence.invoices.corrections import OrderRefused
from persistence.invoices.listing import Filter, list_invoices
from persistence.locks import lock_meters
from persistence.master_data import import_master
from persistence.readings.importing import import_readings, replace_readings
from tests.billing.billing_samples import ZAGREB
from tests.support.small_load import HEADER

PERIOD, START, END = "2026-10", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"
QUARTER_HOURS = 30 * 24 * 4
COVERAGE_PERCENT = Decimal(95)
HELD_SECONDS = 2.0


@dataclass
class Soak:
    """Several workers on one database; `settings` are those of commands, with their limits."""

    settings: ConnectionSettings
    folder: Path
    master: Path
    users: int
    seed: int
    operations: int
    done: Counter[str] = field(default_factory=Counter)
    longest_seconds: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    listed: set[str] = field(default_factory=set)
    standstill_seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self, workers: int, ignoring: str) -> None:
        """Returns when so many operations are done; the invoice `ignoring` is locked by somebody all the time."""
        watching = [
            threading.Thread(target=self._watch, args=(ignoring,), daemon=True),
            threading.Thread(target=self._hold_meters, daemon=True),
        ]
        working = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(workers)]
        for thread in (*watching, *working):
            thread.start()
        for thread in working:
            thread.join()
        self._over.set()
        for thread in watching:
            thread.join()

    def _work(self, number: int) -> None:
        chance = random.Random(f"{self.seed} {number}")
        kinds = {"import": 4, "replace": 4, "correct": 8, "master": 1}
        works: dict[str, Callable[[Database, random.Random, str], bool]] = {
            "import": self._import, "replace": self._replace, "correct": self._correct, "master": self._import_master,
        }  # fmt: skip
        with Database(replace(self.settings, application_name=f"worker {number}")) as database:
            while sum(self.done.values()) < self.operations and not self.failures:
                (kind,) = chance.choices(list(kinds), list(kinds.values()))
                begun = time.monotonic()
                try:
                    counts = works[kind](database, chance, f"{number}")
                except PersistenceError as error:
                    self.failures.append(f"{kind}: {error}")
                    return
                seconds = time.monotonic() - begun
                with self._lock:
                    self.done[kind] += counts
                    self.longest_seconds[kind] = max(self.longest_seconds.get(kind, 0.0), seconds)

    def _file(self, name: str, rows: list[str]) -> Path:
        path = self.folder / f"{name}.csv"
        path.write_text(HEADER + "".join(rows))
        return path

    def _import(self, database: Database, chance: random.Random, name: str) -> bool:
        """Readings between the ends of the month, or at the end for who still lacks it; the same again is no error."""
        rows = []
        for number in chance.sample(range(1, self.users + 1), chance.randint(1, 8)):
            minute = 15 * chance.randrange(1, QUARTER_HOURS)
            day, of_day = divmod(minute, 24 * 60)
            rows.append(reading(number, f"2026-10-{day + 1:02}T{of_day // 60:02}:{of_day % 60:02}:00Z", 0))
        path = self._file(f"import-{name}", rows)
        database.run(partial(import_readings, path=path))
        return True

    def _replace(self, database: Database, chance: random.Random, name: str) -> bool:
        """Ends of the month that are higher or lower than before, and never below the start."""
        numbers = chance.sample(range(1, self.users + 1), chance.randint(1, 4))
        path = self._file(f"replace-{name}", [reading(each, END, chance.randint(1, 999)) for each in numbers])
        report = database.run(lambda connection: replace_readings(connection, path, "soak", "worker"))
        with self._lock:
            self.listed.update(report.invoices)
        return True

    def _import_master(self, database: Database, chance: random.Random, name: str) -> bool:
        database.run(partial(import_master, path=self.master))
        return True

    def _correct(self, database: Database, chance: random.Random, name: str) -> bool:
        user = f"user-{chance.randint(1, self.users):05d}"
        with database.reading() as reader:
            revisions = list_invoices(reader, Filter(network_user=user))
        last = max(revisions, key=lambda each: int(each["revision"]))
        return bool(last["state"] == "registered" and correct(database, last["id"]))

    def _hold_meters(self) -> None:
        """Somebody looks at a meter FOR UPDATE and thinks about it."""
        chance = random.Random(f"{self.seed} holder")
        with Database(replace(self.settings, application_name="idle")) as database:
            while not self._over.wait(0.5):
                with database.transaction() as connection:
                    lock_meters(connection, [f"meter-{chance.randint(1, self.users):05d}"])
                    self._over.wait(HELD_SECONDS)

    def _watch(self, ignoring: str) -> None:
        """How long nothing went on though there was something to do."""
        position, since = -1, time.monotonic()
        with Database(replace(self.settings, application_name="watch")) as database:
            while not self._over.wait(0.1):
                with database.transaction() as connection:
                    row = connection.execute(text(_PROGRESS), {"ignoring": ignoring}).one()
                if row.position != position or not row.to_do:
                    position, since = row.position, time.monotonic()
                self.standstill_seconds = max(self.standstill_seconds, time.monotonic() - since)

    def not_settled(self, database: Database) -> set[str]:
        """The users whose registered revisions do not add up to what the readings in force make."""
        with database.transaction() as connection:
            ids = [f"user-{number:05d}.{PERIOD}.1" for number in range(1, self.users + 1)]
            booked = {
                row.network_user_id: row.total
                for row in connection.execute(
                    text("""SELECT network_user_id, sum(total_with_tax_eur) AS total FROM invoices
                            WHERE period = :period AND state = 'registered' GROUP BY network_user_id"""),
                    {"period": PERIOD},
                )
            }
            made = [calculate(basis, COVERAGE_PERCENT) for basis in fetch_inputs(connection, ids, ZAGREB)]
        return {
            each.id.network_user_id
            for each in made
            if isinstance(each, Invoice) and booked.get(each.id.network_user_id) != each.total_with_tax_eur
        }


# An invoice that waits for readings is nothing to do.
_PROGRESS = """
    SELECT (SELECT coalesce(max(position), 0) FROM invoice_history) AS position, EXISTS (
        SELECT FROM invoices WHERE id <> :ignoring AND (state IN ('calculated', 'sent', 'initiated')
            OR (state = 'due' AND next_attempt_at IS NULL))
    ) AS to_do
"""


def reading(number: int, at: str, kwh: int) -> str:
    """A user's meter: at the start of October plus so much in T1."""
    t1, t2, reactive = 1000 * number + 1000 * kwh, 500 * number, 0
    return f"meter-{number:05d},{at},{t1 + t2},{t1},{t2},0,{reactive},0\n"


def correct(database: Database, invoice_id: str) -> bool:
    """Orders a correction of what is registered; whether it was made."""

    try:
        taken = database.run(
            lambda connection: corrections.take_up(
                connection, "correct", invoice_id, "worker", offer_seconds=0, lease_seconds=5
            )
        )
        database.run(
            lambda connection: corrections.correct(connection, taken, "worker", "soak", ZAGREB, COVERAGE_PERCENT)
        )
    except OrderRefused:
        return False
    return True
