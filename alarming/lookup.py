"""What is read of the table of alarms, for people: which stand, which stood, and how each code behaved."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alarming.alarm import AlarmRecord
from alarming.conditions import Severity
from persistence.reader import Reader


@dataclass(frozen=True)
class CodeStatistics:
    """How one code behaved: raised so often, came back so often within one alarm, stood so long."""

    code: str
    alarms: int
    reopened: int
    standing: int
    standing_seconds: float
    longest_seconds: float


def find(reader: Reader, *, cleared_too: bool = False) -> list[AlarmRecord]:
    """The standing alarms of all instances, the most urgent first; with the cleared ones if asked for."""
    rows = reader.rows(
        """SELECT * FROM alarms WHERE cleared_at IS NULL OR :cleared_too
           ORDER BY cleared_at IS NOT NULL, array_position(
               ARRAY['critical', 'major', 'minor', 'warning'], severity), raised_at DESC, id""",
        cleared_too=cleared_too,
    )
    return [to_record(row) for row in rows]


def statistics(reader: Reader, days: float = 30) -> list[CodeStatistics]:
    """Per code, the most frequent first: of the alarms raised or cleared in the last days, or standing."""
    rows = reader.rows(
        """SELECT code, count(*) AS alarms, sum(coalesce((context ->> 'reopened')::int, 0)) AS reopened,
               count(*) FILTER (WHERE cleared_at IS NULL) AS standing,
               sum(extract(epoch FROM coalesce(cleared_at, now()) - raised_at))::float8 AS standing_seconds,
               max(extract(epoch FROM coalesce(cleared_at, now()) - raised_at))::float8 AS longest_seconds
           FROM alarms WHERE coalesce(cleared_at, now()) >= now() - make_interval(secs => :seconds)
           GROUP BY code ORDER BY alarms DESC, code""",
        seconds=days * 86400,
    )
    return [CodeStatistics(**row) for row in rows]


def to_record(row: Mapping[str, Any]) -> AlarmRecord:
    """A row of the table as an alarm."""
    context: Mapping[str, Any] = row["context"]
    return AlarmRecord(
        id=row["id"],
        code=row["code"],
        key=row["key"],
        severity=Severity(row["severity"]),
        summary=row["summary"],
        count=row["count"],
        raised_at=row["raised_at"],
        last_at=row["last_at"],
        instance=row["instance"],
        cleared_at=row["cleared_at"],
        acked_at=row["acked_at"],
        context=context,
        reopened=int(context.get("reopened", 0)),
    )
