"""What is written to the table of alarms: a copy of what stands, for commands, other daemons and the time after.

Each function takes a connection inside a transaction and may raise any `persistence.errors.PersistenceError`.
"""

import json
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, text

from alarming.alarm import AlarmRecord, clean_context, clean_line
from alarming.catalogue import Code
from alarming.formats import instant


def store(connection: Connection, record: AlarmRecord) -> AlarmRecord:
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


def sweep(connection: Connection, instance: str) -> int:
    """Clears what an instance that has been gone for a day said of itself (interfaces.md, Alarm codes)."""
    return connection.execute(
        text("""UPDATE alarms SET cleared_at = now() WHERE cleared_at IS NULL AND key = instance
                AND instance <> :instance AND last_at < now() - interval '1 day' AND NOT EXISTS (SELECT
                    FROM instances i WHERE i.name = alarms.instance AND i.seen_at >= now() - interval '1 day')"""),
        {"instance": instance},
    ).rowcount


def _parameters(record: AlarmRecord) -> dict[str, Any]:
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
