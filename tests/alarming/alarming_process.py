"""A process with nothing but the alarms, which kills itself between two steps of raising or clearing one."""

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from alarming.actor import NAME, AlarmActor, AlarmSettings
from alarming.conditions import ConditionActive, ConditionCleared
from persistence.alarms import find
from persistence.connection.database import ConnectionSettings, Database
from supervision import ChildSpec, SupervisorSpec, System
from testkit.waiting import wait_until

CODE = "erp_credentials"


class Lines(logging.Handler):
    """Writes each alarm line to a file, as a log does: it is there once it is written."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def emit(self, record: logging.LogRecord) -> None:
        fields = vars(record)
        if "BILLINGD_ALARM_ID" in fields:
            line = json.dumps([fields["BILLINGD_ALARM_STATE"], fields["BILLINGD_ALARM_ID"]])
            with self.path.open("a") as file:
                file.write(line + "\n")


class Phases:
    """Ends the process, as kill -9 does, at one point of one phase."""

    def __init__(self, phase: str, point: str) -> None:
        self.now = "start"
        self._wanted = (phase, point)

    def reached(self, point: str) -> None:
        if (self.now, point) == self._wanted:
            os.kill(os.getpid(), signal.SIGKILL)


def start(spool: Path, url: str, phases: Phases) -> System:
    def make() -> AlarmActor:
        return AlarmActor(
            instance="one",
            spool_path=spool,
            settings=AlarmSettings(look_every_seconds=0.1, raise_within_seconds=1),
            database=Database(ConnectionSettings.from_url(url)),
            reached=phases.reached,
        )

    system = System(SupervisorSpec("root", children=(ChildSpec(NAME, make),)))
    system.start()
    return system


def main(spool: str, log: str, url: str, phase: str, point: str, tells: str) -> None:
    """Raises (if `tells` says so) and clears one alarm, and ends when the table has it so."""
    logging.basicConfig(level=logging.INFO, handlers=[Lines(Path(log))])
    phases = Phases(phase, point)
    observer = Database(ConnectionSettings.from_url(url))

    def rows() -> list[Any]:
        with observer.reading() as reader:
            return [record for record in find(reader, cleared_too=True) if record.code == CODE]

    phases.now = "raise" if tells == "trouble" else "clear"
    system = start(Path(spool), url, phases)
    if tells == "trouble":
        system.tell(NAME, ConditionActive(CODE, "401 from the ERP", subject="NU-1.2026-10.1"))
        wait_until(
            lambda: any(row.cleared_at is None for row in rows()), within_seconds=20, what="it stands in the table"
        )
        wait_until(lambda: b'"stored": true' in Path(spool).read_bytes(), within_seconds=20, what="the spool notes it")
    phases.now = "clear"
    system.tell(NAME, ConditionCleared(CODE))
    wait_until(
        lambda: bool(rows()) and all(row.cleared_at is not None for row in rows()),
        within_seconds=20,
        what="it is cleared in the table",
    )
    system.stop(5)


if __name__ == "__main__":
    main(*sys.argv[1:])
