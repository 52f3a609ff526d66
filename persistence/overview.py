"""How all invoices stand, in few statements: counts by month, what is stuck and why, and what a person has ordered."""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from persistence import invoices
from persistence.delivery_pause import current

# What doesn't go on as it should: held, waiting for readings, or tried again after something went wrong.
_STUCK = """
WITH concerned AS (
    SELECT state, held_code AS code, period, id, held_reason AS reason, updated_at, NULL::timestamptz AS next_try
    FROM invoices WHERE state IN ('held', 'due') AND held_code IS NOT NULL
    UNION ALL
    SELECT state, NULL, period, id, NULL, updated_at, next_attempt_at
    FROM invoices WHERE state IN ('due', 'calculated', 'sent', 'initiated') AND held_code IS NULL
        AND (failures > 0 OR crash_count > 0 OR incorrect_count > 0)
), grouped AS (
    SELECT state, code, count(*) AS invoices, min(period) AS first_period, max(period) AS last_period,
        min(id) AS example, mode() WITHIN GROUP (ORDER BY reason) AS reason, count(DISTINCT reason) AS reasons,
        min(updated_at) AS since, min(next_try) AS next_attempt_at,
        extract(epoch FROM now() - min(updated_at))::float8 AS seconds
    FROM concerned GROUP BY state, code
)
SELECT g.state, g.code, g.invoices, g.first_period, g.last_period, g.example, g.since, g.seconds, g.next_attempt_at,
    coalesce(g.reason, x.said, i.crash_count || ' crashes of whoever worked on it') AS reason, g.reasons
FROM grouped g JOIN invoices i ON i.id = g.example LEFT JOIN LATERAL (
    SELECT e.method || ' ' || e.outcome || ': ' || e.detail AS said FROM erp_exchanges e
    WHERE e.invoice_id = g.example AND g.code IS NULL ORDER BY e.seq DESC LIMIT 1) x ON true
ORDER BY g.state <> 'held', g.invoices DESC, g.state, g.code"""


@dataclass(frozen=True, slots=True)
class Stuck:
    """Invoices that are stuck in one state for one code (None: they are tried again), with one for an example.

    `reason` is the most frequent one of `reasons`, for `seconds` the oldest of them has stood so.
    """

    state: str
    code: str | None
    invoices: int
    first_period: str
    last_period: str
    example: str
    since: datetime
    seconds: float
    next_attempt_at: datetime | None
    reason: str
    reasons: int


@dataclass(frozen=True, slots=True)
class Overview:
    """What one look finds. `oldest_seconds` is by state, `pace` counts bookings of the last minute."""

    periods: dict[str, dict[str, int]] = field(default_factory=dict)
    oldest_seconds: dict[str, float] = field(default_factory=dict)
    stuck: tuple[Stuck, ...] = ()
    unapproved: int = 0
    pause: dict[str, Any] | None = None
    pace: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """How many invoices stand in each state."""
        found: dict[str, int] = {}
        for of_period in self.periods.values():
            for state, number in of_period.items():
                found[state] = found.get(state, 0) + number
        return found

    @property
    def waiting(self) -> int:
        """How many due invoices wait for readings."""
        return sum(group.invoices for group in self.stuck if group.state == "due" and group.code is not None)

    def document(self) -> dict[str, Any]:
        """The part of `status --json` that the database knows, whoever asks it."""
        return {
            "invoices": self.counts,
            "periods": self.periods,
            "oldest_seconds": self.oldest_seconds,
            "waiting": self.waiting,
            "stuck": [asdict(group) for group in self.stuck],
            "unapproved": self.unapproved,
            "pause": self.pause,
        }


def overview(connection: Connection, *, approval_required: bool) -> Overview:
    """Looks at everything; with approval not required nothing waits for it."""
    periods: dict[str, dict[str, int]] = {}
    for period, state, number in invoices.counts_by_period(connection):
        periods.setdefault(period, {})[state] = number
    pause = current(connection)
    return Overview(
        periods=periods,
        oldest_seconds=invoices.oldest_by_state(connection),
        stuck=tuple(Stuck(**row._mapping) for row in connection.execute(text(_STUCK))),
        unapproved=_number(connection, _UNAPPROVED) if approval_required else 0,
        pause=None if pause is None else asdict(pause),
        pace=_number(connection, _PACE),
    )


_UNAPPROVED = "SELECT count(*) FROM invoices WHERE state = 'calculated' AND approved_at IS NULL"
_PACE = """SELECT count(*) FROM invoice_history
           WHERE to_state = 'registered' AND from_state <> 'registered' AND at > now() - interval '1 minute'"""


def _number(connection: Connection, statement: str) -> int:
    return int(connection.execute(text(statement)).scalar_one())
