"""How things stand: the document of `billingd status`, and the one sentence that is its first line everywhere."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from actors.messages import ERP_GATEWAY, ErpStanding, Standing
from persistence import invoices
from persistence.database import Database
from persistence.errors import PersistenceError
from supervision import SupervisionError

if TYPE_CHECKING:
    from daemon.run import Daemon

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0
SERIOUS = ("critical", "major")
# The kernel goes round several times a second; older than this and neither the watchdog nor /healthz says all is well.
PROGRESS_SECONDS = 10.0


class Standings:
    """Looks at database and ERP in a thread of its own, so that whoever asks never waits for either."""

    def __init__(self, daemon: "Daemon", standing_alarms: Callable[[], list[dict[str, Any]]]) -> None:
        self._daemon = daemon
        self._standing_alarms = standing_alarms
        self._since = daemon.clock.wall()
        self._loaded_at = self._since
        self._database: tuple[str, datetime] = ("unknown", self._since)
        self._erp: ErpStanding | None = None
        self._erp_since: datetime | None = None
        self._counts: dict[str, int] = {}
        self._oldest: dict[str, float] = {}
        self._waiting = 0
        self._over = threading.Event()
        self._connection: Database | None = None
        self._thread = threading.Thread(target=self._refresh_until_over, name="standing", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def close(self) -> None:
        """Looks no more; a look that hangs is cut off."""
        self._over.set()
        if self._connection is not None:
            self._connection.unblock()

    def configuration_loaded(self) -> None:
        """A reload has put another configuration in force."""
        self._loaded_at = self._daemon.clock.wall()

    def database_is_there(self) -> bool:
        """Whether the last look reached the database."""
        return self._database[0] == "connected"

    def erp_is_there(self) -> bool:
        """Whether requests to the ERP may leave."""
        return self._erp is not None and self._erp.shut is None

    def running(self) -> bool:
        """Whether the tree goes on."""
        return self._daemon.system.ended is None

    def alive(self) -> bool:
        """Whether the tree has proved lately that it goes on."""
        return self.running() and self._daemon.system.progress().age_seconds < PROGRESS_SECONDS

    def verdict(self) -> tuple[bool, str]:
        """(all is well, one sentence that says how things stand)."""
        problems = []
        if not self.database_is_there():
            problems.append(
                "the database is away" if self._database[0] != "unknown" else "no word from the database yet"
            )
        if self._erp is not None and self._erp.shut is not None:
            why = "refuses our credentials" if self._erp.shut == "credentials" else "is away"
            problems.append(f"the ERP {why}")
        alarms = self._standing_alarms()
        serious = [alarm for alarm in alarms if alarm["severity"] in SERIOUS]
        if serious:
            problems.append(f"{len(serious)} serious alarm{'s' * (len(serious) > 1)}: {serious[0]['code']}")
        finished = self._counts.get("registered", 0) + self._counts.get("aborted", 0)
        work = f"{finished} of {sum(self._counts.values())} invoices are final"
        if self._counts.get("held"):
            work += f", {self._counts['held']} held"
        if self._waiting:
            work += f", {self._waiting} wait for readings"
        return not problems, "; ".join([*problems, work]) if problems else f"well: {work}"

    def sentence(self) -> str:
        """The first line of `status`, systemd's STATUS= and the control room."""
        return self.verdict()[1]

    def document(self) -> dict[str, Any]:
        """`status --json` (interfaces.md, Commands)."""
        daemon, loaded = self._daemon, self._daemon.loaded
        well, sentence = self.verdict()
        erp = self._erp
        ago = None if erp is None else erp.last_success_seconds_ago
        return {
            "running": self.running(),
            "well": well,
            "verdict": sentence,
            "instance": daemon.parts.instance,
            "version": daemon.parts.version,
            "since": self._since,
            "configuration": {"path": loaded.path, "sha256": loaded.sha256, "loaded_at": self._loaded_at},
            "database": {"state": self._database[0], "since": self._database[1]},
            "erp": {
                "state": "unknown" if erp is None else (erp.shut or "reachable"),
                "breaker": erp.breaker if erp else None,
                "in_flight": erp.in_flight if erp else None,
                "queued": erp.queued if erp else None,
                "last_success_at": None if ago is None else _seconds_before(daemon.clock.wall(), ago),
            },
            "invoices": self._counts,
            "oldest_seconds": self._oldest,
            "waiting": self._waiting,
            "alarms": self._standing_alarms(),
            "tree": daemon.system.tree(),
        }

    def _refresh_until_over(self) -> None:
        while not self._over.is_set():
            try:
                self._refresh()
            except Exception:  # whoever shows how things stand must not fall with them
                logger.exception("how things stand could not be found out")
            self._over.wait(REFRESH_SECONDS)

    def _refresh(self) -> None:
        try:
            self._erp = self._daemon.system.ask(ERP_GATEWAY, Standing(), timeout_seconds=1.0)
        except SupervisionError:
            self._erp = None
        try:
            if self._connection is None:
                self._connection = self._daemon.connect("standing")
            with self._connection.transaction(self._daemon.parts.settings.database.statement_timeout_seconds) as each:
                counts, waiting = invoices.counts(each), invoices.waiting_for_readings(each)
                oldest = invoices.oldest_by_state(each)
            self._counts, self._waiting, self._oldest = counts, waiting, oldest
            state = "connected"
        except PersistenceError as error:
            state = type(error).__name__
            logger.debug("the database is not there for status: %s", error)
        if state != self._database[0]:
            self._database = (state, self._daemon.clock.wall())


def _seconds_before(now: datetime, seconds: float) -> datetime:
    return datetime.fromtimestamp(now.timestamp() - seconds, UTC)
