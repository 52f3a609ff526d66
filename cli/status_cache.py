"""The status of a daemon that does not answer, from the database: starts nothing, takes two seconds at most."""

from typing import Any

from alarming.formats import SERIOUS, to_json
from cli.ops_client import NoAnswer
from config.load import Loaded
from config.secrets import SecretUnreadable
from config.settings import Settings
from daemon.database import present_settings, seen_server
from persistence.alarms import find
from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.errors import PersistenceError
from persistence.invoices.overview import Overview, last_seen, overview
from supervision.clock import SystemClock
from web.formatting import cell

TIMEOUT_SECONDS = 2.0


def cached_status(loaded: Loaded, error: NoAnswer) -> tuple[dict[str, Any], bool]:
    """The status document out of the database, and whether the daemon is there and does not answer.

    It runs if it has told the database so lately, or if its endpoint takes connections and gives no answer.
    """
    settings, state = loaded.settings, "connected"
    try:
        with (
            Database(_connection(settings), seen_server=seen_server(settings)) as database,
            database.reading(TIMEOUT_SECONDS) as reader,
        ):
            seen = last_seen(reader, settings.instance)
            stored = overview(reader, approval_required=settings.billing.approval == "required")
            alarms = [to_json(alarm) for alarm in find(reader)]
    except (PersistenceError, SecretUnreadable, OSError, ValueError) as away:
        state, seen, stored, alarms = str(away), None, Overview(), []
    # A daemon that takes connections and does not answer hangs or is frozen, unless it has stored its end.
    running = (seen is not None and seen.alive) or (error.silent and (seen is None or seen.ended_at is None))
    serious = [alarm for alarm in alarms if alarm["severity"] in SERIOUS]
    off = settings.ops.address is None
    since = None
    look = "`journalctl -u billingd` says why, `systemctl start billingd` starts it"
    if running:
        last = f", last seen at {cell(seen.seen_at)}" if seen else ""
        said = f"running, as far as can be seen{last}: {error}"
        since = seen.started_at if seen else None
    elif seen is not None:
        since = seen.ended_at or seen.seen_at
        how = {"clean": "ended in order", "gave_up": "it gave up"}.get(seen.ended_how or "", "ended without a word")
        said = f"not running since {cell(since)} ({how}): {error}; {look}"
    else:
        never = "it has never been seen in the database" if state == "connected" else f"nor does the database: {state}"
        said = f"not running: {error}; {never}"
    document = {
        "running": running,
        "well": running and off and not serious,
        "verdict": said,
        "at": SystemClock().wall(),
        "instance": settings.instance,
        "since": since,
        "configuration": {"path": loaded.path, "sha256": loaded.sha256, "loaded_at": None},
        "database": {"state": state, "since": None},
        "erp": {"state": "unknown", "since": None, "breaker": None, "last_success_at": None},
        **stored.document(),
        "alarms": alarms,
        "tree": None,
    }
    return document, running and not off


def _connection(settings: Settings) -> ConnectionSettings:
    connect_seconds = min(TIMEOUT_SECONDS, settings.database.connect_timeout_seconds)
    quick = dict.fromkeys(("statement_timeout_seconds", "lock_timeout_seconds"), TIMEOUT_SECONDS)
    return present_settings(settings, "status", connect_timeout_seconds=connect_seconds, **quick)
