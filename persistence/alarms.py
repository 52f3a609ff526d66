"""The table of alarms, a copy of what stands, and the alarms that follow from the other tables.

Each function takes a connection or reader inside a transaction and raises the errors of persistence.connection.errors.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from billing.invoice import WAITS_FOR_DATA
from persistence.connection.statements import Source, execute, fetch, fetch_column, fetch_dicts, fetch_row, fetch_value
from persistence.sql import Queries
from persistence.storable_text import clean_context, clean_line

if TYPE_CHECKING:
    from sqlalchemy import Connection

EXAMPLES: Final = 20
"""How many subjects an alarm names (docs/spec/interfaces.md, "Alarm codes")."""

PAUSED_KEY: Final = "delivery"
"""The key of the alarm of a pause: there is one for all daemons on a database."""
DATA_KEY: Final = "data"
"""The key of the alarms of invoices that wait for data: one import may concern hundreds of periods."""
_SQL = Queries(
    __file__, EXAMPLES=EXAMPLES, PAUSED_KEY=PAUSED_KEY, DATA_KEY=DATA_KEY,
    DATA_CODES=", ".join(f"'{code}'" for code in WAITS_FOR_DATA),
)  # fmt: skip

GONE_SECONDS: Final = 60.0
"""After how long without a sign of life another instance sees to the alarms of an instance's invoices."""


class Severity(StrEnum):
    """How soon somebody has to act, the most urgent first."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"
    WARNING = "warning"


@dataclass(frozen=True)
class AlarmRecord:
    """What others see of an alarm. `reopened`: how often it came back soon after it was cleared.

    `active_subjects`: some of those for which its condition is active, to go on from after a restart; not in the table.
    """

    id: str
    code: str
    key: str
    severity: Severity
    summary: str
    count: int
    raised_at: datetime
    last_at: datetime
    instance: str
    cleared_at: datetime | None = None
    acked_at: datetime | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    reopened: int = 0
    active_subjects: tuple[str, ...] = ()


@dataclass(frozen=True)
class StateSettings:
    """What state alarms go by: `alarms.overdue_seconds`, `billing.readings_grace_seconds`, `billing.time_zone`."""

    overdue_seconds: float = 86400.0
    readings_grace_seconds: float = 86400.0
    time_zone: str = "Europe/Zagreb"


@dataclass(frozen=True)
class Group:
    """Invoices under one alarm: how many, the first ids, the most frequent reason, and how many reasons there are.

    `standing_*` is what the table has of that alarm already; `oldest` and `newest` are the periods of its invoices.
    """

    code: str
    key: str
    count: int
    ids: tuple[str, ...]
    reason: str
    reasons: int = 1
    standing_id: str | None = None
    standing_since: datetime | None = None
    oldest: str = ""
    newest: str = ""


@dataclass(frozen=True)
class AlarmState:
    """What the database says.

    `groups`: the alarms that its rows ask for, all of them. `standing`: the alarms in the table that the instance
    answers for. `final`: the invoices asked about that need nothing more. `standing_ids`: all that stand in the table.
    """

    groups: tuple[Group, ...] = ()
    standing: tuple[AlarmRecord, ...] = ()
    final: tuple[str, ...] = ()
    standing_ids: frozenset[str] = frozenset()


_PLAIN_COLUMNS = ("id", "code", "key", "count", "raised_at", "last_at", "cleared_at", "instance")


def read_state(
    source: Source,
    settings: StateSettings,
    instance: str,
    now: datetime,
    *,
    state_codes: Sequence[str],
    known: Sequence[str] = (),
) -> AlarmState:
    """What the rows say now. `now` decides whether the readings' grace is over, all else the database's clock.

    `state_codes`: the codes whose alarms follow from rows. `known`: invoices of which a reported alarm speaks already:
    they are not overdue besides.
    """
    listed = ",".join(known)  # no id has a comma, and the driver is slow with arrays of thousands
    limits = {"grace": settings.readings_grace_seconds, "overdue": settings.overdue_seconds}
    groups = fetch_dicts(source, _SQL.groups, now=now, known=listed, time_zone=settings.time_zone, **limits)
    standing = fetch_dicts(source, _SQL.standing, instance=instance, codes=list(state_codes), gone=GONE_SECONDS)
    final = fetch_column(source, _SQL.final, known=listed) if known else []
    standing_ids = fetch_column(source, "SELECT id FROM alarms WHERE cleared_at IS NULL")
    return AlarmState(
        tuple(Group(**{**row, "ids": tuple(row["ids"])}) for row in groups),
        tuple(map(_record, standing)),
        tuple(final),
        frozenset(standing_ids),
    )


def find(source: Source, *, cleared_too: bool = False) -> list[AlarmRecord]:
    """The standing alarms of all instances, the most urgent first; with the cleared ones if asked for."""
    return [_record(row) for row in fetch_dicts(source, _SQL.find, cleared_too=cleared_too)]


def statistics(source: Source, days: float = 30) -> list[Any]:
    """Per `code`, the most frequent first: of the alarms raised or cleared in the last days, or standing.

    Columns: how many `alarms`, how often they were `reopened`, how many are `standing`, `standing_seconds` in all, and
    `longest_seconds`.
    """
    return fetch(source, _SQL.statistics, seconds=days * 86400)


def store(connection: "Connection", record: AlarmRecord) -> AlarmRecord:
    """Writes an alarm as it is; returns it with the id and acknowledgement under which it stands in the table."""
    standing = fetch_row(connection, _SQL.standing_one, code=record.code, key=record.key)
    if standing is not None and standing.id != record.id:
        if record.cleared_at is None:
            record = replace(record, id=standing.id, raised_at=standing.raised_at)
        elif standing.instance == record.instance:  # the same alarm, whose adoption did not reach the spool
            record = replace(record, id=standing.id)
    acked_at = fetch_value(
        connection,
        _SQL.store,
        **{name: getattr(record, name) for name in _PLAIN_COLUMNS},
        severity=record.severity.value,
        summary=clean_line(record.summary),
        context=json.dumps(clean_context(record.context), ensure_ascii=False),
    )
    return replace(record, acked_at=acked_at)


def acknowledge(connection: "Connection", alarm_id: str, who: str, reason: str) -> bool:
    """Notes that somebody has taken note of an alarm (the first one counts); False if there is none of that id.

    Of aborted invoices the last one counts: it speaks for those that were aborted until then.
    """
    return bool(execute(connection, _SQL.acknowledge, id=alarm_id, who=who, reason=reason))


def sweep(connection: "Connection", instance: str) -> int:
    """Clears what an instance that has been gone for a day said of itself (docs/spec/interfaces.md, "Alarm codes")."""
    return execute(connection, _SQL.sweep, instance=instance)


def _record(row: Mapping[str, Any]) -> AlarmRecord:
    columns = {name: row[name] for name in row if name not in ("acked_by", "ack_reason")}
    reopened = int(row["context"].get("reopened", 0))
    return AlarmRecord(**{**columns, "severity": Severity(row["severity"]), "reopened": reopened})
