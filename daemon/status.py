"""The status document of the running daemon, kept current in a thread of its own."""

import logging
import threading
from datetime import datetime, timedelta
from typing import Any

from actors.context import ActorContext
from actors.messages import ERP_GATEWAY, ErpStatus, GetErpStatus
from alarming.actor import AlarmSnapshot
from alarming.catalogue import Code
from alarming.formats import SERIOUS, to_json
from alarming.heartbeat import Heartbeat
from config.load import Loaded
from daemon.alarms import heartbeat_settings
from daemon.summary import summarize
from persistence.connection.database import Database
from persistence.connection.errors import PersistenceError
from persistence.invoices.durations import durations_since
from persistence.invoices.overview import Overview, overview, stalled
from supervision import SupervisionError, System

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0
# The kernel goes round several times a second. When its last round is older than this, the daemon is not alive:
# systemd's watchdog is not fed, and /healthz says so.
PROGRESS_SECONDS = 10.0
_LOOKED_AT_SECONDS = 10.0


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
        self._asked_at = self._since
        self._tried_at: datetime | None = None
        self._next_try_at: datetime | None = None
        self._seen = Overview()
        self._seen_at: datetime | None = None
        self._stalled = False
        self._looked_seconds = context.clock.monotonic()
        self._heartbeat = Heartbeat(lambda: heartbeat_settings(context.settings), self.standstill, context.clock.wall)
        self._timed_until: datetime | None = None
        self._over = threading.Event()
        self._connection: Database | None = None
        self._thread = threading.Thread(target=self._refresh_until_over, name="status", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._heartbeat.start()

    def close(self) -> None:
        """Ends the thread and the heartbeat; a query that hangs is cut off."""
        self._heartbeat.stop()
        self._over.set()
        if self._connection is not None:
            self._connection.unblock()

    def note_reload(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._loaded_at = self._context.clock.wall()
        self._heartbeat.wake()

    def database_connected(self) -> bool:
        return self._database[0] == "connected"

    def ready(self) -> bool:
        return self.database_connected() and self._erp is not None and self._erp.open_reason is None

    def running(self) -> bool:
        return self._system.ended is None

    def alive(self) -> bool:
        """Whether the tree has proved lately that it goes on."""
        return self.running() and self._system.progress().age_seconds < PROGRESS_SECONDS

    def standstill(self) -> str | None:
        """Why the dead-man's switch gets no heartbeat: no progress, or nobody would hear of it. None if all goes on.

        What an alarm tells is no standstill of the pipeline, and neither is what waits for the ERP or a person.
        """
        standing, delivery, settings = self._snapshot.standing, self._snapshot.delivery, self._context.settings
        idle_seconds = self._context.clock.monotonic() - self._looked_seconds
        if not self.alive():
            return "the daemon's parts do not go on"
        if not self.database_connected():
            return f"no answer from the database ({self._database[0]})"
        if idle_seconds > _LOOKED_AT_SECONDS + settings.database.statement_timeout_seconds:
            return f"nothing was found out for {idle_seconds:.0f} s"
        if self._stalled and not any(alarm.severity in SERIOUS for alarm in standing):
            return "work is ready, and nothing has moved"
        if any(alarm.code == Code.ALARM_TEST_FAILED for alarm in standing):
            return "a test alarm did not arrive"
        if delivery is not None and delivery.problem is not None:
            return f"alarms do not get out: {delivery.problem}"
        return None

    def summary(self) -> str:
        """The first line of `status`, systemd's STATUS= and the control room."""
        return str(self.document()["verdict"])

    def document(self) -> dict[str, Any]:
        """`status --json` (docs/spec/interfaces.md, "JSON")."""
        context, loaded, seen, delivery = self._context, self._loaded, self._seen, self._snapshot.delivery
        now, beat = context.clock.wall(), self._heartbeat.delivery
        document: dict[str, Any] = {
            "running": self.running(),
            "well": False,
            "verdict": "",
            "at": now,
            "instance": context.instance,
            "version": context.version,
            "since": self._since,
            "configuration": {"path": loaded.path, "sha256": loaded.sha256, "loaded_at": self._loaded_at},
            "database": {
                "state": self._database[0],
                "since": self._database[1],
                "seen_at": self._seen_at,
                "tried_at": self._tried_at,
                "next_try_at": self._next_try_at,
            },
            "erp": self._erp_document(),
            **seen.document(),
            "alarms": [to_json(each) for each in self._snapshot.standing],
            "webhook": delivery and vars(delivery),
            "heartbeat": beat and vars(beat),
            "tree": self._system.tree(),
        }
        document["well"], document["verdict"] = summarize(document)
        return document

    def _erp_document(self) -> dict[str, Any]:
        erp = self._erp

        def instant(seconds: float | None) -> datetime | None:
            return None if seconds is None else self._asked_at + timedelta(seconds=seconds)

        def before(seconds: float | None) -> datetime | None:
            return instant(None if seconds is None else -seconds)

        return {
            "state": self._erp_state[0],
            "since": self._erp_state[1],
            "breaker": erp.breaker if erp else None,
            "in_flight": erp.in_flight if erp else None,
            "queued": erp.queued if erp else None,
            "last_success_at": before(erp.last_success_seconds_ago) if erp else None,
            "tried_at": before(erp.tried_seconds_ago) if erp else None,
            "next_try_at": instant(erp.next_try_seconds) if erp else None,
            "booked_last_minute": self._seen.pace,
        }

    def _refresh_until_over(self) -> None:
        while not self._over.is_set():
            try:
                self._refresh()
            except Exception:  # the status must still be shown when it can't be refreshed
                logger.exception("how things stand could not be found out")
            self._tried_at = now = self._context.clock.wall()
            self._next_try_at = now + timedelta(seconds=REFRESH_SECONDS)
            self._over.wait(REFRESH_SECONDS)
            self._next_try_at = None  # now

    def _refresh(self) -> None:
        settings = self._context.settings
        try:
            self._erp = self._system.ask(ERP_GATEWAY, GetErpStatus(), timeout_seconds=1.0)
            erp = self._erp.open_reason or "reachable"
            self._asked_at = self._context.clock.wall()
        except SupervisionError:
            self._erp, erp = None, "unknown"
        self._erp_state = self._changed(self._erp_state, erp)
        try:
            if self._connection is None:
                self._connection = self._context.connect("standing")
            with self._connection.reading(settings.database.statement_timeout_seconds) as reader:
                self._seen = overview(reader, approval_required=settings.billing.approval == "required")
                self._stalled = stalled(
                    reader,
                    seconds=settings.supervision.hang_seconds + settings.work.lease_seconds,
                    approval_required=settings.billing.approval == "required",
                    may_deliver=self._erp is not None and self._erp.open_reason is None,
                )
                self._timed_until, durations = durations_since(reader, self._context.claimer, self._timed_until)
            self._context.metrics.took(durations, settings.zone)
            self._seen_at = self._context.clock.wall()
            state = "connected"
            self._looked_seconds = self._context.clock.monotonic()
        except PersistenceError as error:
            state = type(error).__name__
            logger.debug("the database is not there for status: %s", error)
        self._database = self._changed(self._database, state)

    def _changed(self, before: tuple[str, datetime], state: str) -> tuple[str, datetime]:
        return before if state == before[0] else (state, self._context.clock.wall())
