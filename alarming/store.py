"""The table of alarms: a copy of what stands, for commands, other daemons and the time after.

Each function takes a connection inside a transaction and may raise any `persistence.errors.PersistenceError`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, text

from alarming.alarm import Record, clean_context, clean_line
from alarming.catalogue import Code
from alarming.signs import Severity
from alarming.wire import instant

_COLUMNS = """id, code, key, severity, summary, count, raised_at, last_at, cleared_at, acked_at, instance, context"""


@dataclass(frozen=True)
class CodeStatistics:
    """How one code behaved: raised so often, came back so often within one alarm, stood so long."""

    code: str
    alarms: int
    reopened: int
    standing: int
    standing_seconds: float
    longest_seconds: float


def store(connection: Connection, record: Record) -> Record:
    """Writes an alarm as it is; returns it with the id and acknowledgement under which it stands in the table."""
    standing = connection.execute(
        text("""SELECT id, raised_at, instance FROM alarms
                WHERE code = :code AND key = :key AND cleared_at IS NULL FOR UPDATE"""),
        {"code": record.code, "key": record.key},
    ).one_or_none()
    if standing is not None and standing.id != record.id:
        if record.cleared_at is None:
            record = replace(record, id=standing.id, raised_at=standing.raised_at)
        elif standing.instance == record.instance:  # the same alarm, whose adoption did not reach the spool
            record = replace(record, id=standing.id)
    acked_at = connection.execute(
        text("""INSERT INTO alarms
                    (id, code, key, severity, summary, count, raised_at, last_at, cleared_at, instance, context)
                VALUES (:id, :code, :key, :severity, :summary, :count, CAST(:raised_at AS timestamptz),
                    CAST(:last_at AS timestamptz), CAST(:cleared_at AS timestamptz), :instance, CAST(:context AS jsonb))
                ON CONFLICT (id) DO UPDATE SET severity = excluded.severity, summary = excluded.summary,
                    count = excluded.count, last_at = greatest(alarms.last_at, excluded.last_at),
                    cleared_at = excluded.cleared_at, context = excluded.context,
                    (acked_at, acked_by, ack_reason) = (SELECT a.acked_at, a.acked_by, a.ack_reason FROM alarms a
                        WHERE a.id = excluded.id AND (a.cleared_at IS NULL OR excluded.cleared_at IS NOT NULL))
                RETURNING acked_at"""),
        _parameters(record),
    ).scalar_one()
    return replace(record, acked_at=acked_at)


def find(connection: Connection, *, cleared_too: bool = False) -> list[Record]:
    """The standing alarms of all instances, the most urgent first; with the cleared ones if asked for."""
    rows = connection.execute(
        text(f"""SELECT {_COLUMNS} FROM alarms WHERE cleared_at IS NULL OR :cleared_too
                 ORDER BY cleared_at IS NOT NULL, array_position(
                     ARRAY['critical', 'major', 'minor', 'warning'], severity), raised_at DESC, id"""),
        {"cleared_too": cleared_too},
    )
    return [to_record(row) for row in rows]


def acknowledge(connection: Connection, alarm_id: str, who: str, reason: str) -> bool:
    """Notes that somebody has taken note of an alarm (the first one counts); False if there is none of that id.

    Of aborted invoices the last one counts: it speaks for those that were aborted until then.
    """
    return bool(
        connection.execute(
            text("""UPDATE alarms SET
                    acked_at = CASE WHEN code = :aborted THEN clock_timestamp()
                                    ELSE coalesce(acked_at, clock_timestamp()) END,
                    acked_by = coalesce(acked_by, :who), ack_reason = coalesce(ack_reason, :reason) WHERE id = :id"""),
            {"id": alarm_id, "who": who, "reason": reason, "aborted": Code.INVOICE_ABORTED.value},
        ).rowcount
    )


def statistics(connection: Connection, days: float = 30) -> list[CodeStatistics]:
    """Per code, the most frequent first: of the alarms raised or cleared in the last days, or standing."""
    rows = connection.execute(
        text("""SELECT code, count(*) AS alarms, sum(coalesce((context ->> 'reopened')::int, 0)) AS reopened,
                    count(*) FILTER (WHERE cleared_at IS NULL) AS standing,
                    sum(extract(epoch FROM coalesce(cleared_at, now()) - raised_at))::float8 AS standing_seconds,
                    max(extract(epoch FROM coalesce(cleared_at, now()) - raised_at))::float8 AS longest_seconds
                FROM alarms WHERE coalesce(cleared_at, now()) >= now() - make_interval(secs => :seconds)
                GROUP BY code ORDER BY alarms DESC, code"""),
        {"seconds": days * 86400},
    )
    return [CodeStatistics(**row._mapping) for row in rows]


def sweep(connection: Connection, instance: str) -> int:
    """Clears what an instance that has been gone for a day said of itself (interfaces.md, Alarm codes)."""
    return connection.execute(
        text("""UPDATE alarms SET cleared_at = now() WHERE cleared_at IS NULL AND key = instance
                AND instance <> :instance AND last_at < now() - interval '1 day' AND NOT EXISTS (SELECT
                    FROM instances i WHERE i.name = alarms.instance AND i.seen_at >= now() - interval '1 day')"""),
        {"instance": instance},
    ).rowcount


def to_record(row: Row[Any]) -> Record:
    """A row of the table as an alarm."""
    context: Mapping[str, Any] = row.context
    return Record(
        id=row.id,
        code=row.code,
        key=row.key,
        severity=Severity(row.severity),
        summary=row.summary,
        count=row._mapping["count"],
        raised_at=row.raised_at,
        last_at=row.last_at,
        instance=row.instance,
        cleared_at=row.cleared_at,
        acked_at=row.acked_at,
        context=context,
        reopened=int(context.get("reopened", 0)),
    )


def _parameters(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "code": record.code,
        "key": record.key,
        "severity": record.severity.value,
        "summary": clean_line(record.summary),
        "count": record.count,
        "raised_at": instant(record.raised_at),
        "last_at": instant(record.last_at),
        "cleared_at": instant(record.cleared_at),
        "instance": record.instance,
        "context": json.dumps(clean_context(record.context), ensure_ascii=False),
    }
