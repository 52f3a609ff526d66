"""The one order in which every writer locks rows: meters, then invoices, each in the order of their ids.

A transaction that needs both locks all its meters before its first invoice. It locks all rows that it will change
before it changes one. So no two writers wait for each other in a ring.
"""

import threading
import time
from collections.abc import Collection
from typing import Literal

from sqlalchemy import Connection, text

from persistence.errors import DatabaseFailed

LOCK_NOT_AVAILABLE = "55P03"
PATIENCE_SECONDS = 60.0
"""How long an import tries to get its meters."""
_ONE_WAIT_SECONDS = 0.5
_PAUSE_SECONDS = 0.5


def lock_meters(connection: Connection, meter_ids: Collection[str], *, wait: bool = True) -> list[str]:
    """Locks these meters against imports and other calculations; returns those that it has got.

    Without `wait` a row that somebody else has locked is left out. The locks last until the transaction ends.
    """
    return _lock(connection, "meters", "FOR NO KEY UPDATE", meter_ids, wait=wait)


def lock_invoices(connection: Connection, invoice_ids: Collection[str], *, wait: bool = True) -> list[str]:
    """Locks these invoices for a change; returns those that it has got, as `lock_meters` does."""
    return _lock(connection, "invoices", "FOR UPDATE", invoice_ids, wait=wait)


def lock_meters_in_turns(connection: Connection, meter_ids: Collection[str]) -> None:
    """Locks these meters for a writer that has much to lose and may wait for long.

    While it waits it holds a part of them for half a second at most, then none for as long, so that calculations go
    on. Raises DatabaseFailed, which names the session in the way, after PATIENCE_SECONDS.
    """
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with connection.begin_nested():
                connection.execute(text(f"SET LOCAL lock_timeout = {round(_ONE_WAIT_SECONDS * 1000)}"))
                lock_meters(connection, meter_ids)
        except DatabaseFailed as error:
            if error.sqlstate != LOCK_NOT_AVAILABLE:
                raise
        else:
            return
        if time.monotonic() >= give_up:
            free = set(lock_meters(connection, meter_ids, wait=False))
            raise DatabaseFailed(
                f"{who_holds(connection, 'meters', set(meter_ids) - free)} for {PATIENCE_SECONDS:g} s and longer: "
                "end that session or wait for it, then run this command again",
                LOCK_NOT_AVAILABLE,
            )
        threading.Event().wait(_PAUSE_SECONDS)


def who_holds(connection: Connection, table: Literal["meters", "invoices"], ids: Collection[str]) -> str:
    """Which session has locked one of these rows, in words.

    A row that is locked bears the number of the transaction, and that transaction's session holds a lock on it.
    """
    holder = connection.execute(
        text(f"""
            SELECT t.id, l.pid, a.application_name, a.xact_start
            FROM {table} t JOIN pg_locks l ON l.locktype = 'transactionid' AND l.granted AND l.transactionid = t.xmax
            LEFT JOIN pg_stat_activity a ON a.pid = l.pid
            WHERE t.id = ANY(CAST(:ids AS text[])) AND l.pid IS DISTINCT FROM pg_backend_pid()
            ORDER BY t.id LIMIT 1"""),
        {"ids": sorted(ids)},
    ).one_or_none()
    one = table.removesuffix("s")
    if holder is None:
        return f"another session has locked {one} {min(ids, default='')}".rstrip()
    since = f" since {holder.xact_start:%Y-%m-%d %H:%M:%SZ}" if holder.xact_start else ""
    return (
        f"the database session {holder.pid} ({holder.application_name or 'without a name'}) "
        f"has locked {one} {holder.id}{since}"
    )


def _lock(connection: Connection, table: str, strength: str, ids: Collection[str], *, wait: bool) -> list[str]:
    if not ids:
        return []
    statement = f"SELECT id FROM {table} WHERE id = ANY(CAST(:ids AS text[])) ORDER BY id {strength}"
    rows = connection.execute(text(statement if wait else f"{statement} SKIP LOCKED"), {"ids": sorted(ids)})
    return list(rows.scalars())
