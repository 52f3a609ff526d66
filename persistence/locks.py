"""The one order in which every writer locks rows: meters, then invoices, each in the order of their ids.

A transaction that needs both locks all its meters before its first invoice. It locks all rows that it will change
before it changes one. So no two writers wait for each other in a ring.
"""

from collections.abc import Collection

from sqlalchemy import Connection, text

# Every table that storing a calculation or an answer writes to.
_WRITTEN = "invoices, invoice_documents, invoice_history, erp_exchanges, billed_spans, recalculation_requests"
_READ_LOCKED = "network_users, meters"


def lock_meters(connection: Connection, meter_ids: Collection[str], *, wait: bool = True) -> list[str]:
    """Locks these meters against imports and other calculations; returns those that it has got.

    Without `wait` a row that somebody else has locked is left out. The locks last until the transaction ends.
    """
    return _lock(connection, "meters", "FOR NO KEY UPDATE", meter_ids, wait=wait)


def lock_invoices(connection: Connection, invoice_ids: Collection[str], *, wait: bool = True) -> list[str]:
    """Locks these invoices for a change; returns those that it has got, as `lock_meters` does."""
    return _lock(connection, "invoices", "FOR UPDATE", invoice_ids, wait=wait)


def lock_tables_at_once(connection: Connection) -> None:
    """Raises DatabaseFailed (55P03) if somebody else has locked one of the tables that calculations are stored in."""
    connection.execute(text(f"LOCK TABLE {_WRITTEN} IN ROW EXCLUSIVE MODE NOWAIT"))
    connection.execute(text(f"LOCK TABLE {_READ_LOCKED} IN ROW SHARE MODE NOWAIT"))


def locked_by(connection: Connection, invoice_ids: Collection[str]) -> dict[str, str]:
    """Which of these invoices another session has locked or changed in a transaction that still runs, and which one.

    It only reads. A row that several sessions share a lock on is not found.
    """
    rows = connection.execute(
        text("""SELECT i.id, l.pid, coalesce(nullif(a.application_name, ''), a.usename, '?') AS application,
                    to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS since
                FROM invoices i JOIN pg_locks l ON l.locktype = 'transactionid' AND l.granted
                    AND l.mode = 'ExclusiveLock' AND l.transactionid = i.xmax
                LEFT JOIN pg_stat_activity a ON a.pid = l.pid
                WHERE i.id = ANY(CAST(:ids AS text[])) AND l.pid <> pg_backend_pid()"""),
        {"ids": sorted(invoice_ids)},
    )
    return {
        row.id: f"session {row.pid} ({row.application})" + (f" since {row.since}Z" if row.since else "") for row in rows
    }


def _lock(connection: Connection, table: str, strength: str, ids: Collection[str], *, wait: bool) -> list[str]:
    if not ids:
        return []
    statement = f"SELECT id FROM {table} WHERE id = ANY(CAST(:ids AS text[])) ORDER BY id {strength}"
    rows = connection.execute(text(statement if wait else f"{statement} SKIP LOCKED"), {"ids": sorted(ids)})
    return list(rows.scalars())
