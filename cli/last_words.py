"""`billingd last-words`: raises the alarm that the daemon ended, for the unit billingd-failure@.service."""

import logging
import os
import signal
import socket
from pathlib import Path
from typing import Annotated

import typer

from alarming.alarm import Now
from alarming.catalogue import Code
from alarming.conditions import ConditionActive
from alarming.dispatcher import AlarmDispatcher
from alarming.spool import Spool
from cli.database import database
from cli.invocation import CommandFailed, config_path
from config.load import ConfigurationRejected, load
from config.secrets import SecretUnreadable
from config.settings import Settings
from daemon import logs
from persistence.alarms import AlarmRecord, store
from persistence.connection.errors import PersistenceError
from persistence.embedded.server import LockTaken, StateLock
from supervision.clock import SystemClock

logger = logging.getLogger("billingd")

REASONS = {
    "exit-code": "ended with status {status}",
    "signal": "was ended by {status}",
    "core-dump": "was ended by {status}",
    "watchdog": "proved no progress for too long and was ended by its watchdog",
    "timeout": "took too long to start or stop",
    "oom-kill": "was ended because memory ran out",
    "protocol": "ended before it was up",
}
DATABASE_SECONDS = 5.0


def last_words(
    context: typer.Context,
    how: Annotated[str, typer.Argument(metavar="UNIT[:RESULT:CODE:STATUS]", help="What ended, and how.")],
) -> None:
    """Raise the alarm that a daemon ended; it clears when the next one has caught up."""
    has_file = True
    try:
        settings = load(config_path(context)).settings
    except ConfigurationRejected:
        has_file = False
        # An unusable file may be the reason why the daemon ended. The alarm goes to log and spool all the same.
        state_dir = Path(os.environ.get("STATE_DIRECTORY", "var").partition(":")[0])
        settings = Settings(state_dir=state_dir, instance=f"{socket.gethostname()}:{state_dir.absolute()}")
    logs.configure("info")
    unit, result, status = _parts(how)
    ended_by = f"SIG{status}" if f"SIG{status}" in signal.Signals.__members__ else status
    reason = REASONS.get(result, "could not go on: {result}").format(status=ended_by, result=result)
    summary = f"{unit} {reason}; systemd starts it again"
    told = {"unit": unit, "result": result, "exit_status": status}
    logger.warning("%s", summary, extra={f"BILLINGD_{key.upper()}": value for key, value in told.items()})
    sign = ConditionActive(Code.DAEMON_WAS_DOWN, summary, context=told, immediately=True)
    for record in _raise(settings, sign):
        if has_file and not settings.database.embedded:
            _store_in_database(settings, record)


def _raise(settings: Settings, sign: ConditionActive) -> tuple[AlarmRecord, ...]:
    """Spool and log, as the daemon itself would; only log while another one works on the spool."""
    clock = SystemClock()
    try:
        with StateLock(settings.state_dir, "billingd last-words"):
            dispatcher = AlarmDispatcher(
                settings.instance,
                Spool(settings.state_dir / "alarms.jsonl"),
                lambda: Now(clock.monotonic(), clock.wall()),
            )
            dispatcher.open()
            dispatcher.report(sign)
            standing = tuple(record for record in dispatcher.register.standing() if record.code == sign.code)
            for record in standing:  # one more of a loop of ends is no new line, but counts
                dispatcher.spool.save(record)
                dispatcher.spool.mark(record.id, logged=True)
            return standing
    except (LockTaken, OSError) as error:
        logger.warning("no alarm is kept of it: %s", error)
        return ()


def _store_in_database(settings: Settings, record: AlarmRecord) -> None:
    try:
        with database(settings, "last words") as opened:
            opened.run(lambda connection: store(connection, record), DATABASE_SECONDS)
    except (PersistenceError, SecretUnreadable, CommandFailed) as error:
        logger.info("the alarm stays in the spool for now: %s", error)


def _parts(how: str) -> tuple[str, str, str]:
    """Unit, result and status: from the instance, or from what systemd tells a unit of OnFailure= (251 and later)."""
    unit, *rest = how.split(":")
    monitored = os.environ.get("MONITOR_SERVICE_RESULT", ""), "", os.environ.get("MONITOR_EXIT_STATUS", "")
    result, _, status = (*rest, "", "", "")[:3] if rest else monitored
    return unit, result or "unknown", status or "unknown"
