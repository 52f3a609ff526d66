"""What the database knows of a daemon that doesn't answer itself: starting nothing, within two seconds."""

from dataclasses import dataclass, field, replace
from typing import Any

from alarming.formats import to_json
from config.secrets import SecretUnreadable
from config.settings import Settings
from daemon.access import limits, server_settings
from persistence.alarms import find
from persistence.database import ConnectionSettings, Database
from persistence.embedded import EmbeddedServer
from persistence.errors import PersistenceError
from persistence.overview import Overview, Seen, last_seen, overview

PATIENCE_SECONDS = 2.0


@dataclass(frozen=True)
class LastKnown:
    """`database` is "connected" or why it is not: then the rest is empty. `seen` is None if the daemon never was."""

    database: str
    seen: Seen | None = None
    overview: Overview = field(default_factory=Overview)
    alarms: list[dict[str, Any]] = field(default_factory=list)


def last_known(settings: Settings) -> LastKnown:
    """Asks the database, if it is there; never raises for one that is not."""
    if settings.database.embedded and EmbeddedServer(settings.state_dir).pid is None:
        return LastKnown("the embedded server is not running")
    try:
        with Database(_connection(settings)) as database, database.reading(PATIENCE_SECONDS) as reader:
            return LastKnown(
                "connected",
                last_seen(reader, settings.instance),
                overview(reader, approval_required=settings.billing.approval == "required"),
                [to_json(alarm) for alarm in find(reader)],
            )
    except (PersistenceError, SecretUnreadable, OSError, ValueError) as error:
        return LastKnown(str(error))


def _connection(settings: Settings) -> ConnectionSettings:
    quick = limits(settings, "status") | {
        "connect_timeout_seconds": min(PATIENCE_SECONDS, settings.database.connect_timeout_seconds),
        "statement_timeout_seconds": PATIENCE_SECONDS,
        "lock_timeout_seconds": PATIENCE_SECONDS,
    }
    if settings.database.embedded:
        return EmbeddedServer(settings.state_dir).settings(**quick)
    return replace(server_settings(settings, "status"), **quick)
