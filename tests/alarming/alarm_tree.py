"""A supervision tree with nothing but the alarms in it, and what stands in the table, for tests."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from alarming.actor import NAME, AlarmActor, AlarmSettings, AlarmSnapshot
from alarming.log_rules import LogConditions
from persistence.alarms import AlarmRecord, find
from persistence.connection.database import Database
from supervision import ChildSpec, SupervisorSpec, System, SystemClock
from testkit.waiting import wait_until

SETTINGS = AlarmSettings(raise_within_seconds=1.0, quiet_seconds=2.0, look_every_seconds=0.2, window_seconds=1.0)
FORGETFUL = replace(SETTINGS, quiet_seconds=0.5)
"""With these the spool forgets half a second after an alarm is over, in place of ten minutes."""


class AlarmTree:
    """A supervision tree with the alarms in it, to be started again and again on the same spool."""

    def __init__(self, spool: Path, instance: str = "one") -> None:
        self.spool = spool
        self.instance = instance
        self.snapshot = AlarmSnapshot()
        self.records = LogConditions()
        self.system: System | None = None

    def start(self, make_database: Callable[[], Database] | None, settings: AlarmSettings = SETTINGS) -> None:
        def make() -> AlarmActor:
            return AlarmActor(
                instance=self.instance,
                spool_path=self.spool,
                settings=settings,
                database=make_database() if make_database else None,
                records=self.records,
                snapshot=self.snapshot,
            )

        self.system = System(SupervisorSpec("root", children=(ChildSpec(NAME, make),)))
        self.system.start()

    def tell(self, message: object) -> None:
        assert self.system is not None
        self.system.tell(NAME, message)

    def stop(self) -> None:
        if self.system is not None:
            self.system.stop(5)
            self.system = None

    def standing(self) -> dict[str, AlarmRecord]:
        return {record.code: record for record in self.snapshot.standing}

    def wait_until_forgotten(self, database: Database, code: str) -> None:
        """Waits until an alarm has been over for longer than the spool keeps it."""

        def forgotten() -> bool:
            record = in_table(database)[code]
            if record.cleared_at is None:
                return False
            over_seconds = (SystemClock().wall() - record.cleared_at).total_seconds()
            return over_seconds > 3 * FORGETFUL.reopen_seconds

        wait_for(forgotten, f"{code} is forgotten")


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 15) -> float:
    """Waits for the condition; gives the seconds that it took."""
    started = time.monotonic()
    wait_until(condition, within_seconds=seconds, every_seconds=0.02, what=what)
    return time.monotonic() - started


def in_table(database: Database) -> dict[str, AlarmRecord]:
    with database.reading() as reader:
        return {record.code: record for record in find(reader, cleared_too=True)}
