"""The alarms that follow from the invoices in the database: which there are is a function of its rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, text

from alarming.alarm import EXAMPLES, AlarmRecord, Group
from alarming.catalogue import STATE_CODES, Code
from alarming.lookup import to_record

PAUSED_KEY: Final = "delivery"
"""The key of the alarm of a pause: there is one for all daemons on a database."""

GONE_SECONDS: Final = 60.0
"""After how long without a sign of life another instance sees to the alarms of an instance's invoices."""


@dataclass(frozen=True)
class StateSettings:
    """What the look goes by: `alarms.overdue_seconds`, `billing.readings_grace_seconds`, `billing.time_zone`."""

    overdue_seconds: float = 86400.0
    readings_grace_seconds: float = 86400.0
    time_zone: str = "Europe/Zagreb"


@dataclass(frozen=True)
class Look:
    """What the database says: the alarms there have to be, those this instance answers for, what is final.

    `standing_ids` are all that stand in the table, whoever answers for them.
    """

    groups: tuple[Group, ...] = ()
    standing: tuple[AlarmRecord, ...] = ()
    final: tuple[str, ...] = ()
    standing_ids: frozenset[str] = frozenset()


_GROUPS = """
WITH concerned AS (
    SELECT period, id, held_code AS code, held_reason AS reason FROM invoices WHERE state = 'held'
    UNION ALL
    SELECT period, id, held_code, held_reason FROM invoices
    WHERE state = 'due' AND held_code IS NOT NULL AND (held_code NOT IN (:incomplete, :inconsistent)
        OR CAST(:now AS timestamptz) >= make_interval(secs => :grace)
            + CAST((period || '-01')::date + interval '1 month' AS timestamp) AT TIME ZONE :time_zone)
    UNION ALL
    SELECT period, id, :overdue_code, 'in ' || state FROM invoices
    WHERE state IN ('due', 'calculated', 'sent', 'initiated') AND held_code IS NULL
        AND updated_at < now() - make_interval(secs => :overdue) AND id <> ALL(string_to_array(:known, ','))
    UNION ALL
    SELECT a.period, a.id, :aborted_code, a.abort_reason FROM invoices a
    WHERE a.state = 'aborted' AND a.ended_by = 'erp'
        AND NOT EXISTS (SELECT FROM invoices later WHERE later.network_user_id = a.network_user_id
            AND later.period = a.period AND later.revision > a.revision)
        AND NOT EXISTS (SELECT FROM alarms k WHERE k.code = :aborted_code AND k.key = a.period
            AND k.acked_at >= a.updated_at)
    UNION ALL
    SELECT :paused_key, :paused_key, :paused_code, 'until ' || to_char(until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')
        || 'Z by ' || by || ': ' || reason
    FROM delivery_pauses WHERE resumed_at IS NULL AND until > now()
)
SELECT c.code, c.period, count(*) AS number, (array_agg(c.id ORDER BY c.id))[1:CAST(:examples AS int)] AS ids,
    mode() WITHIN GROUP (ORDER BY c.reason) AS reason, count(DISTINCT c.reason) AS reasons,
    s.id AS standing_id, s.raised_at AS standing_since
FROM concerned c LEFT JOIN alarms s ON s.code = c.code AND s.key = c.period AND s.cleared_at IS NULL
GROUP BY c.code, c.period, s.id, s.raised_at ORDER BY c.period, c.code"""

_STANDING = """
SELECT a.* FROM alarms a WHERE a.cleared_at IS NULL AND (a.instance = :instance OR (
    a.code = ANY(CAST(:codes AS text[])) AND a.key <> a.instance AND NOT EXISTS (
        SELECT FROM instances i WHERE i.name = a.instance AND i.seen_at >= now() - make_interval(secs => :gone))))"""

_FINAL = """
SELECT id FROM invoices WHERE id = ANY(string_to_array(:known, ',')) AND state IN ('registered', 'aborted', 'held')"""

_NOUNS: Final = {
    Code.INVOICE_ABORTED: "aborted",
    Code.INVOICE_OVERDUE: "waiting for too long",
    Code.READINGS_INCOMPLETE: "waiting for readings",
    Code.READINGS_INCONSISTENT: "waiting for readings to be put right",
    Code.ENERGY_ALREADY_BILLED: "waiting, as another one bills the same energy",
    Code.INPUTS_UNREADABLE: "waiting, as their data cannot be read",
}


def look(
    connection: Connection, settings: StateSettings, instance: str, now: datetime, known: Sequence[str] = ()
) -> Look:
    """What the rows say now. `now` decides whether the readings' grace is over, all else the database's clock.

    `known`: invoices of which an alarm by a sign speaks already: they are not overdue besides.
    """
    listed = ",".join(known)  # no id has a comma, and the driver is slow with arrays of thousands
    groups = connection.execute(
        text(_GROUPS),
        {
            "incomplete": Code.READINGS_INCOMPLETE.value,
            "inconsistent": Code.READINGS_INCONSISTENT.value,
            "overdue_code": Code.INVOICE_OVERDUE.value,
            "aborted_code": Code.INVOICE_ABORTED.value,
            "paused_code": Code.DELIVERY_PAUSED.value,
            "paused_key": PAUSED_KEY,
            "now": now,
            "grace": settings.readings_grace_seconds,
            "overdue": settings.overdue_seconds,
            "time_zone": settings.time_zone,
            "examples": EXAMPLES,
            "known": listed,
        },
    ).all()
    standing = connection.execute(
        text(_STANDING), {"instance": instance, "codes": sorted(STATE_CODES), "gone": GONE_SECONDS}
    ).all()
    final = connection.execute(text(_FINAL), {"known": listed}).scalars().all() if known else ()
    standing_ids = connection.execute(text("SELECT id FROM alarms WHERE cleared_at IS NULL")).scalars()
    return Look(
        tuple(map(_group, groups)),
        tuple(to_record(row._asdict()) for row in standing),
        tuple(final),
        frozenset(standing_ids),
    )


def _group(row: Row[Any]) -> Group:
    if row.code == Code.DELIVERY_PAUSED:
        summary = f"delivery is paused {row.reason}"
        return Group(row.code, row.period, 1, summary, {}, row.standing_id, row.standing_since)
    noun = "invoice" if row.number == 1 else "invoices"
    more = f", …{row.number - 3} more" if row.number > 3 else ""
    why = f"{row.reason}" + (f" (and {row.reasons - 1} other reasons)" if row.reasons > 1 else "")
    summary = f"{row.number} {noun} {_NOUNS.get(row.code, 'held')}: {', '.join(row.ids[:3])}{more}: {why}"
    context = {"invoices": list(row.ids), "reason": row.reason, "reasons": row.reasons}
    return Group(row.code, row.period, row.number, summary, context, row.standing_id, row.standing_since)
