"""The one order in which every writer locks rows: meters, then invoices, each in the order of their ids.

A transaction that needs both locks all its meters before its first invoice. It locks all rows that it will change
before it changes one. So no two writers wait for each other in a ring.
"""

from collections.abc import Collection

from sqlalchemy import Connection, text


def lock_meters(connection: Connection, meter_ids: Collection[str], *, wait: bool = True) -> list[str]:
    """Locks these meters against imports and other calculations; returns those that it has got.

    Without `wait` a row that somebody else has locked is left out. The locks last until the transaction ends.
    """
    return _lock(connection, "meters", "FOR NO KEY UPDATE", meter_ids, wait=wait)


def lock_invoices(connection: Connection, invoice_ids: Collection[str], *, wait: bool = True) -> list[str]:
    """Locks these invoices for a change; returns those that it has got, as `lock_meters` does."""
    return _lock(connection, "invoices", "FOR UPDATE", invoice_ids, wait=wait)


def _lock(connection: Connection, table: str, strength: str, ids: Collection[str], *, wait: bool) -> list[str]:
    if not ids:
        return []
    statement = f"SELECT id FROM {table} WHERE id = ANY(CAST(:ids AS text[])) ORDER BY id {strength}"
    rows = connection.execute(text(statement if wait else f"{statement} SKIP LOCKED"), {"ids": sorted(ids)})
    return list(rows.scalars())
