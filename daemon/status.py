"""The status document of the running daemon, kept current in a thread of its own."""

import logging
import threading
from datetime import datetime, timedelta
from typing import Any

from actors.context import ActorContext
from actors.messages import ERP_GATEWAY, ErpStatus, GetErpStatus
from alarming.actor import AlarmSnapshot
from alarming.formats import to_json
from config.load import Loaded
from daemon.summary import summarize
from persistence.connection.database import Database
from persistence.connection.errors import PersistenceError
from persistence.invoices.overview import Overview, overview
from supervision import SupervisionError, System

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0
# The kernel goes round several times a second. When its last round is older than this, the daemon is not alive:
# systemd's watchdog is not fed, and /healthz says so.
PROGRESS_SECONDS = 10.0


class StatusCollector:
    """Asks database and ERP in a thread of its own, so that `document` never waits for either."""

    def __init__(self, context: ActorContext, system: System, loaded: Loaded, snapshot: AlarmSnapshot) -> None:
        self._context = context
        self._system = system
        self._loaded = loaded
        self._snapshot = snapshot
        self._since = context.clock.wall()
        self._loaded_at = self._since
        self._database: tuple[str, datetime] = ("unknown", self._since)
        self._erp: ErpStatus | None = None
        self._erp_state: tuple[str, datetime] = ("unknown", self._since)
        self._seen = Overview()
        self._seen_at: datetime | None = None
        self._over = threading.Event()
        self._connection: Database | None = None
        self._thread = threading.Thread(target=self._refresh_until_over, name="status", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; a query that hangs is cut off."""
        self._over.set()
        if self._connection is not None:
            self._connection.unblock()

    def note_reload(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._loaded_at = self._context.clock.wall()

    def database_connected(self) -> bool:
        return self._database[0] == "connected"

    def ready(self) -> bool:
        return self.database_connected() and self._erp is not None and self._erp.open_reason is None

    def running(self) -> bool:
        return self._system.ended is None

    def alive(self) -> bool:
        """Whether the tree has proved lately that it goes on."""
        return self.running() and self._system.progress().age_seconds < PROGRESS_SECONDS

    def summary(self) -> str:
        """The first line of `status`, systemd's STATUS= and the control room."""
        return str(self.document()["verdict"])

    def document(self) -> dict[str, Any]:
        """`status --json` (docs/spec/interfaces.md, "JSON")."""
        context, loaded, seen, delivery = self._context, self._loaded, self._seen, self._snapshot.delivery
        now = context.clock.wall()
        document: dict[str, Any] = {
            "running": self.running(),
            "well": False,
            "verdict": "",
            "at": now,
            "instance": context.instance,
            "version": context.version,
            "since": self._since,
            "configuration": {"path": loaded.path, "sha256": loaded.sha256, "loaded_at": self._loaded_at},
            "database": {"state": self._database[0], "since": self._database[1], "seen_at": self._seen_at},
            "erp": self._erp_document(now),
            **seen.document(),
            "alarms": [to_json(each) for each in self._snapshot.standing],
            "webhook": delivery and vars(delivery),
            "tree": self._system.tree(),
        }
        document["well"], document["verdict"] = summarize(document)
        return document

    def _erp_document(self, now: datetime) -> dict[str, Any]:
        erp = self._erp
        ago = None if erp is None else erp.last_success_seconds_ago
        return {
            "state": self._erp_state[0],
            "since": self._erp_state[1],
            "breaker": erp.breaker if erp else None,
            "in_flight": erp.in_flight if erp else None,
            "queued": erp.queued if erp else None,
            "last_success_at": None if ago is None else now - timedelta(seconds=ago),
            "booked_last_minute": self._seen.pace,
        }

    def _refresh_until_over(self) -> None:
        while not self._over.is_set():
            try:
                self._refresh()
            except Exception:  # the status must still be shown when it can't be refreshed
                logger.exception("how things stand could not be found out")
            self._over.wait(REFRESH_SECONDS)

    def _refresh(self) -> None:
        settings = self._context.settings
        try:
            self._erp = self._system.ask(ERP_GATEWAY, GetErpStatus(), timeout_seconds=1.0)
            erp = self._erp.open_reason or "reachable"
        except SupervisionError:
            self._erp, erp = None, "unknown"
        self._erp_state = self._changed(self._erp_state, erp)
        try:
            if self._connection is None:
                self._connection = self._context.connect("standing")
            with self._connection.reading(settings.database.statement_timeout_seconds) as reader:
                self._seen = overview(reader, approval_required=settings.billing.approval == "required")
            self._seen_at = self._context.clock.wall()
            state = "connected"
        except PersistenceError as error:
            state = type(error).__name__
            logger.debug("the database is not there for status: %s", error)
        self._database = self._changed(self._database, state)

    def _changed(self, before: tuple[str, datetime], state: str) -> tuple[str, datetime]:
        return before if state == before[0] else (state, self._context.clock.wall())
