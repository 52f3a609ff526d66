"""Which meters have fallen silent: looked at every minute, told as one alarm with a count."""

from actors.condition_reporter import ConditionReporter
from actors.context import ActorContext
from alarming.catalogue import Code
from persistence.connection.database import Database
from persistence.readings.silence import silent_meters

LOOK_SECONDS = 60.0
NAMED_AT_MOST = 20


class SilentMeters:
    """Compares the last reading of each meter with what is expected of its kind, by the billing clock."""

    def __init__(self, context: ActorContext, database: Database) -> None:
        self._context = context
        self._database = database
        self._due_seconds = float("-inf")

    def look(self, conditions: ConditionReporter) -> bool:
        """Looks if it is time to; whether it did. Raises PersistenceError."""
        now = self._context.clock.monotonic()
        if now < self._due_seconds:
            return False
        expected = self._context.settings.intake.expected_every_seconds.model_dump(exclude_none=True)
        if expected:
            moment = self._context.now()
            silent = self._database.run(lambda connection: silent_meters(connection, expected, moment))
            if silent:
                first = silent[0]
                since = "ever" if first.last_at is None else f"{first.last_at:%Y-%m-%dT%H:%M:%SZ}"
                conditions.raise_condition(
                    Code.METERS_SILENT,
                    f"{len(silent)} meter{'s' if len(silent) > 1 else ''} silent, {first.id} since {since}",
                    context={"meters": [each.id for each in silent[:NAMED_AT_MOST]], "number": len(silent)},
                )
        if not expected or not silent:
            conditions.clear(Code.METERS_SILENT)
        self._due_seconds = now + LOOK_SECONDS
        return bool(expected)
