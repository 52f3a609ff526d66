"""A process that raises and clears one alarm with the daemon's own log, to be run as a systemd service."""

import sys
from pathlib import Path

from alarming.alarm import Moment
from alarming.catalogue import Code
from alarming.desk import Desk
from alarming.signs import Fine, Trouble
from alarming.spool import Spool
from daemon import logs
from supervision import SystemClock


def main(spool: str) -> None:
    """Raises, then clears."""
    logs.configure("info", "auto")
    clock = SystemClock()
    desk = Desk("one", Spool(Path(spool)), lambda: Moment(clock.monotonic(), clock.wall()))
    desk.open()
    desk.trouble(Trouble(Code.ERP_CREDENTIALS, "401 from the ERP", subject="NU-0007.2026-10.1"))
    desk.fine(Fine(Code.ERP_CREDENTIALS))


if __name__ == "__main__":
    main(sys.argv[1])
