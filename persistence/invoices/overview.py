"""How all stands, in few statements: counts by month, what is stuck and why, what a person has ordered, who lives."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from billing.states import State
from persistence.connection.statements import Source, fetch, fetch_row, fetch_value
from persistence.sql import Queries

_SQL = Queries(__file__, STATES=", ".join(f"'{state}'" for state in State))


@dataclass(frozen=True, slots=True)
class Overview:
    """What one look finds. `oldest_seconds` is by state, `pace` counts bookings of the last minute.

    Each row of `stuck` are invoices in one state for one code (None: they are tried again), with one for an example.
    `reason` is the most frequent one of `reasons`, for `seconds` the oldest of them has stood so.
    """

    periods: dict[str, dict[str, int]] = field(default_factory=dict)
    oldest_seconds: dict[str, float] = field(default_factory=dict)
    stuck: Sequence[Any] = ()
    unapproved: int = 0
    pause: dict[str, Any] | None = None
    pace: int = 0

    @property
    def counts(self) -> dict[str, int]:
        return dict(sum(map(Counter, self.periods.values()), Counter()))

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
            "stuck": [group._asdict() for group in self.stuck],
            "unapproved": self.unapproved,
            "pause": self.pause,
        }


def overview(source: Source, *, approval_required: bool) -> Overview:
    """Looks at everything; with approval not required only what has remarks may wait for it."""
    periods: dict[str, dict[str, int]] = {}
    for row in fetch(source, _SQL.by_period):
        periods.setdefault(row.period, {})[row.state] = row.number
    pause = pause_in_force(source)
    return Overview(
        periods=periods,
        oldest_seconds={row.state: row.seconds for row in fetch(source, _SQL.oldest)},
        stuck=fetch(source, _SQL.stuck),
        unapproved=int(fetch_value(source, _SQL.unapproved, approval_required=approval_required)),
        pause=None if pause is None else asdict(pause),
        pace=int(fetch_value(source, _SQL.pace)),
    )


def stalled(source: Source, *, seconds: float, approval_required: bool, may_deliver: bool) -> bool:
    """Whether work is ready that nobody has taken up for so long, while no invoice has moved."""
    found = fetch_value(source, _SQL.stalled, seconds=seconds, approved_only=approval_required, may_deliver=may_deliver)
    return bool(found)


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when, until when, by whom and why nothing new is sent to the ERP."""

    since: datetime
    until: datetime
    by: str
    reason: str


def pause_in_force(source: Source) -> Pause | None:
    """The pause of delivery that stands."""
    found = fetch_row(source, _SQL.pause)
    return Pause(*found) if found else None


def last_seen(source: Source, name: str) -> Any:
    """When an instance has `started_at`, was `seen_at`, `ended_at`, and `ended_how`; None if it is unknown.

    It is `alive` with a sign of life in the last 15 s and no end. `ended_how` is None after an end without a word, too.
    """
    return fetch_row(source, _SQL.last_seen, name=name)
