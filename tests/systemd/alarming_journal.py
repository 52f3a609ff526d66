"""A process that raises and clears one alarm with the daemon's own log, to be run as a systemd service."""

import sys
from pathlib import Path

from alarming.alarm import Now
from alarming.catalogue import Code
from alarming.conditions import ConditionActive, ConditionCleared
from alarming.dispatcher import AlarmDispatcher
from alarming.spool import Spool
from daemon import logs
from supervision import SystemClock


def main(spool: str) -> None:
    """Raises, then clears."""
    logs.configure("info", "auto")
    clock = SystemClock()
    dispatcher = AlarmDispatcher("one", Spool(Path(spool)), lambda: Now(clock.monotonic(), clock.wall()))
    dispatcher.open()
    dispatcher.report(ConditionActive(Code.ERP_CREDENTIALS, "401 from the ERP", subject="NU-0007.2026-10.1"))
    dispatcher.report(ConditionCleared(Code.ERP_CREDENTIALS))


if __name__ == "__main__":
    main(sys.argv[1])
