"""The daemon's standing in the database: its arrival, its name's lock, its signs of life, its leaving."""

import logging
from datetime import UTC

from sqlalchemy import Connection, text

from actors.condition_reporter import ConditionReporter
from actors.parts import Parts
from alarming.catalogue import Code
from persistence import instances
from persistence.connection import reader, try_instance_lock
from persistence.database import Database
from persistence.instances import Arrival
from persistence.migrate import check_schema

logger = logging.getLogger(__name__)

SIGN_OF_LIFE_SECONDS = 5.0
# After ends by the daemon's own giving up a start waits before it works, longer each time.
LONGEST_START_DELAY_SECONDS = 300.0


class Presence:
    """Arrives once, then shows that it lives; says what it found."""

    def __init__(self, parts: Parts, conditions: ConditionReporter) -> None:
        self._parts = parts
        self._conditions = conditions
        self._arrival: Arrival | None = None
        self._said = False
        self._name_is_ours = False
        self._seen_at = float("-inf")
        self._work_from = float("-inf")
        self._catching_up = False

    @property
    def arrived(self) -> bool:
        """Whether the database knows this incarnation."""
        return self._arrival is not None

    def may_work(self) -> bool:
        """Whether the name is ours and no wait after a giving up is left."""
        return self.arrived and self._name_is_ours and self._parts.clock.monotonic() >= self._work_from

    def show(self, connection: Connection) -> None:
        """Arrives, or gives a sign of life when its time has come. Raises SchemaMismatch and the like."""
        parts = self._parts
        # Asked at each look, since the lock lasts only as long as the session.
        self._name_is_ours = parts.proved_alone or try_instance_lock(connection, parts.instance)
        if not self._name_is_ours:
            return
        if self._arrival is None:
            check_schema(reader(connection))
            self._arrival = instances.arrive(connection, parts.instance, parts.incarnation, parts.version)
            delay = 0.0
            if self._arrival.gave_ups:
                delay = min(LONGEST_START_DELAY_SECONDS, 2.0**self._arrival.gave_ups)
                logger.warning(
                    "the last %s ends were its own giving up: work begins in %.0f s", self._arrival.gave_ups, delay
                )
            self._work_from = parts.clock.monotonic() + delay
        elif parts.clock.monotonic() - self._seen_at >= SIGN_OF_LIFE_SECONDS:
            instances.sign_of_life(connection, parts.instance, parts.incarnation)
        else:
            connection.execute(text("SELECT 1"))
            return
        self._seen_at = parts.clock.monotonic()
        if self._catching_up:
            self._catching_up = instances.left_over(connection, parts.instance)

    def say(self) -> None:
        """Tells the alarms what was found: after the transaction, so that nothing is said that did not happen."""
        if not self._name_is_ours:
            self._conditions.raise_condition(
                Code.INSTANCE_NAME_TAKEN, f"another session holds the instance name {self._parts.instance}"
            )
            return
        self._conditions.clear(Code.INSTANCE_NAME_TAKEN)
        if self._arrival is not None and not self._said:
            self._said = True
            self._tell_of_absence(self._arrival)
        elif self._said and not self._catching_up:
            self._conditions.clear(Code.DAEMON_WAS_DOWN)

    def leave(self, database: Database | None = None) -> None:
        """Stores a clean end; raises as the database does."""
        if database is None:
            database = self._parts.connect("leaving")
        if self._arrival is not None and self._name_is_ours:
            with database, database.transaction(self._parts.settings.database.connect_timeout_seconds) as connection:
                instances.depart(connection, self._parts.instance, self._parts.incarnation, "clean")

    def _tell_of_absence(self, arrival: Arrival) -> None:
        if arrival.down_seconds is None or arrival.down_since is None:
            return
        self._catching_up = True
        how = "gave up" if arrival.gave_ups else ("ended cleanly" if arrival.clean else "ended without a word")
        since = arrival.down_since.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        summary = (
            f"the daemon was down for {arrival.down_seconds:.0f} s since {since} and {how}; "
            f"{arrival.open_invoices} invoices are open, {arrival.freed} were in hand"
        )
        if arrival.alone_in_hand:
            summary += f"; {arrival.alone_in_hand} was alone in hand at the last ends"
        self._conditions.raise_condition(
            Code.DAEMON_WAS_DOWN,
            summary,
            context={
                "down_seconds": round(arrival.down_seconds, 1),
                "clean": arrival.clean,
                "open_invoices": arrival.open_invoices,
                "alone_in_hand": arrival.alone_in_hand,
            },
        )
