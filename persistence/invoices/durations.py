"""How long invoices took from one state to another, read from the history after the fact."""

from dataclasses import dataclass
from datetime import datetime

from persistence.connection.statements import Source, fetch, fetch_value
from persistence.sql import Queries

_SQL = Queries(__file__)
# A row of the history bears the time of its statement and is seen with its commit, which is seldom later than this.
_UNTIL = "SELECT clock_timestamp() - interval '5 seconds'"


@dataclass(frozen=True, slots=True)
class Duration:
    """An invoice of `period` came to `state` at this instant.

    `seconds` is the wait since `calculated` where it came to `sent`, else the time since its first offer.
    """

    period: str
    state: str
    at: datetime
    seconds: float


def durations_since(source: Source, by: str, since: datetime | None) -> tuple[datetime, list[Duration]]:
    """What the claimer `by` has done since the last call, and the instant to give the next one; at first None.

    A transaction that took over five seconds is left out.
    """
    until: datetime = fetch_value(source, _UNTIL)
    values = {"by": by, "since": since or until, "until": until}
    return until, [Duration(*row) for row in fetch(source, _SQL.durations, **values)]
