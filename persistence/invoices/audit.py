"""The proof of what is stored: history chains, documents, daily roots, and each invoice computed again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row

from persistence.connection.database import Database
from persistence.connection.statements import execute, fetch, fetch_row, fetch_value

PAGE_ROWS = 300


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was stored: of which invoice, what kind, in words."""

    invoice_id: str
    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class Root:
    """The hash over all chains and documents up to a position of the trail, made on a day."""

    day: date
    position: int
    invoices: int
    root: str


_CHAINS = """
    SELECT invoice_id, 'history' AS kind, min(what) AS what FROM (
        SELECT (h).invoice_id, CASE
            WHEN (h).seq <> place THEN 'a step of its history is missing before step ' || (h).seq
            WHEN (h).from_state IS DISTINCT FROM before_state THEN
                'step ' || (h).seq || ' of its history does not begin where the one before ended'
            WHEN (h).hash IS DISTINCT FROM history_hash(before_hash, h) THEN
                'step ' || (h).seq || ' of its history was changed or has changed its place'
        END AS what
        FROM (
            SELECT h, lag(hash) OVER steps AS before_hash, lag(to_state) OVER steps AS before_state,
                row_number() OVER steps AS place
            FROM invoice_history h WHERE CAST(:period AS text) IS NULL OR split_part(invoice_id, '.', 2) = :period
            WINDOW steps AS (PARTITION BY invoice_id ORDER BY seq)
        ) AS linked
    ) AS judged WHERE what IS NOT NULL GROUP BY invoice_id
    UNION ALL
    SELECT i.id, 'history', CASE WHEN last.seq IS DISTINCT FROM i.history_length
        THEN 'its history has ' || coalesce(last.seq, 0) || ' steps instead of ' || i.history_length
        ELSE 'it is ' || i.state || ', and by its history ' || last.to_state END
    FROM invoices i LEFT JOIN LATERAL (
        SELECT seq, to_state FROM invoice_history h WHERE h.invoice_id = i.id ORDER BY seq DESC LIMIT 1
    ) AS last ON true
    WHERE (CAST(:period AS text) IS NULL OR i.period = :period)
        AND (last.seq IS DISTINCT FROM i.history_length OR last.to_state IS DISTINCT FROM i.state)
    UNION ALL
    SELECT i.id, 'document', CASE WHEN d.invoice_id IS NULL THEN 'its document is missing'
        ELSE 'its document (lines, calculations, snapshot or body) was changed' END
    FROM invoices i LEFT JOIN invoice_documents d ON d.invoice_id = i.id
    WHERE (CAST(:period AS text) IS NULL OR i.period = :period) AND CASE WHEN d.invoice_id IS NULL
        THEN i.total_eur IS NOT NULL ELSE d.hash IS DISTINCT FROM document_hash(d) END
    ORDER BY 1, 2
"""

# What a root covers: of each invoice the last hash of its chain, and its document's hash once it is calculated.
_ROOT = """
    SELECT count(*) AS invoices, encode(sha256(coalesce(CAST(:before AS bytea), '')
        || coalesce(string_agg(sha256(head || document), '' ORDER BY invoice_id COLLATE "C"), '')), 'hex') AS root
    FROM (
        SELECT h.invoice_id, (array_agg(h.hash ORDER BY h.seq DESC))[1] AS head,
            CASE WHEN bool_or(h.to_state = 'calculated')
                THEN coalesce((SELECT hash FROM invoice_documents d WHERE d.invoice_id = h.invoice_id), '')
                ELSE '' END AS document
        FROM invoice_history h WHERE h.position <= :position GROUP BY h.invoice_id
    ) AS heads
"""


def broken_trails(connection: Connection, period: str | None) -> list[Finding]:
    """Histories and documents that are not what was written, of one period or of all."""
    return [Finding(row.invoice_id, row.kind, row.what) for row in fetch(connection, _CHAINS, period=period)]


def day_without_root(connection: Connection) -> date | None:
    """Today in UTC by the database's clock, if it has no root yet."""
    day: date | None = fetch_value(
        connection,
        """SELECT today FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock
            WHERE NOT EXISTS (SELECT FROM audit_roots WHERE day >= today)""",
    )
    return day


def settled_position(connection: Connection) -> int:
    """The position up to which the trail is complete; the lock waits out whoever writes, and ends with this."""
    execute(connection, "SET LOCAL lock_timeout = '1s'")
    execute(connection, "LOCK TABLE invoice_history IN SHARE MODE")
    return int(fetch_value(connection, "SELECT coalesce(max(position), 0) FROM invoice_history"))


def make_root(connection: Connection, day: date, position: int) -> Root | None:
    """Stores a day's root, chained to the one before; None if another daemon was quicker."""
    before = fetch_value(connection, "SELECT root FROM audit_roots ORDER BY day DESC LIMIT 1")
    made = fetch_row(connection, _ROOT, before=before, position=position)
    stored = fetch_row(
        connection,
        """INSERT INTO audit_roots (day, at, position, invoices, root)
                VALUES (:day, clock_timestamp(), :position, :invoices, decode(:root, 'hex'))
                ON CONFLICT DO NOTHING RETURNING day""",
        day=day,
        position=position,
        invoices=made.invoices,
        root=made.root,
    )
    return None if stored is None else Root(day, position, made.invoices, made.root)


def check_root(connection: Connection) -> tuple[Root, bool] | None:
    """The last root, and whether it still is what the rows give; None if there is none yet."""
    rows = fetch(connection, "SELECT day, position, invoices, root FROM audit_roots ORDER BY day DESC LIMIT 2")
    if not rows:
        return None
    before = rows[1].root if len(rows) > 1 else None
    now = fetch_row(connection, _ROOT, before=before, position=rows[0].position)
    root = Root(rows[0].day, rows[0].position, rows[0].invoices, rows[0].root.hex())
    return root, (now.root, now.invoices) == (root.root, root.invoices)


def stored_invoices(opened: Database, period: str | None) -> Iterator[Sequence[Row[Any]]]:
    """Every calculated invoice with its document, a page at a time; `calculated_at` says when."""
    after = ""
    while True:
        with opened.transaction() as connection:
            rows = fetch(
                connection,
                """SELECT i.*, d.lines, d.calculations, d.snapshot, d.body, (
                            SELECT min(at) FROM invoice_history h
                            WHERE h.invoice_id = i.id AND h.to_state = 'calculated'
                        ) AS calculated_at
                        FROM invoices i JOIN invoice_documents d ON d.invoice_id = i.id
                        WHERE (CAST(:period AS text) IS NULL OR i.period = :period) AND i.id COLLATE "C" > :after
                        ORDER BY i.id COLLATE "C" LIMIT :limit""",
                period=period,
                after=after,
                limit=PAGE_ROWS,
            )
        if rows:
            yield rows
        if len(rows) < PAGE_ROWS:
            return
        after = rows[-1].id


def replacements(connection: Connection, meter_id: str, start: datetime, end: datetime) -> list[Row[Any]]:
    """What was replaced among a meter's readings of a period: at, replaced_at, replaced_by, reason."""
    return fetch(
        connection,
        """SELECT at, replaced_at, replaced_by, reason FROM readings_replaced
                    WHERE meter_id = :meter AND at BETWEEN :start AND :end ORDER BY replaced_at, at""",
        meter=meter_id,
        start=start,
        end=end,
    )
