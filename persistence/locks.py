"""The one order in which every writer locks rows: meters, then invoices, each in the order of their ids.

A transaction that needs both locks all its meters before its first invoice. It locks all rows that it will change
before it changes one. So no two writers wait for each other in a ring.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Literal

from sqlalchemy import Connection

from persistence.connection.bisection import Failed, bisect
from persistence.connection.errors import DatabaseFailed
from persistence.connection.statements import execute, fetch, fetch_column, fetch_value

LOCK_NOT_AVAILABLE = "55P03"
PATIENCE_SECONDS = 60.0
"""How long an import tries to get its meters."""
_ONE_WAIT_SECONDS = 0.5
_PAUSE_SECONDS = 0.5
# Every table that storing a calculation or an answer writes to.
_WRITTEN = "invoices, invoice_documents, invoice_history, erp_exchanges, billed_spans, recalculation_requests"
_READ_LOCKED = "network_users, meters"
Table = Literal["meters", "invoices"]


def lock_meters(connection: Connection, meter_ids: Collection[str], *, wait: bool = True) -> list[str]:
    """Locks these meters against imports and other calculations; returns those that it has got.

    Without `wait` a row that somebody else has locked is left out. The locks last until the transaction ends.
    """
    return _lock(connection, "meters", "FOR NO KEY UPDATE", meter_ids, wait=wait)


def lock_invoices(connection: Connection, invoice_ids: Collection[str], *, wait: bool = True) -> list[str]:
    """Locks these invoices for a change; returns those that it has got, as `lock_meters` does."""
    return _lock(connection, "invoices", "FOR UPDATE", invoice_ids, wait=wait)


def change_each(
    connection: Connection, invoice_ids: Collection[str], work: Callable[[Sequence[str]], object]
) -> dict[str, str]:
    """Does the work on these invoices, in savepoints; returns which are locked or refused, and why."""
    free = lock_invoices(connection, invoice_ids, wait=False)
    stuck = dict.fromkeys(set(invoice_ids) - set(free), "somebody else has locked its row")

    def in_savepoint(part: Sequence[str]) -> None:
        with connection.begin_nested():
            work(part)

    for part, outcome in bisect(free, in_savepoint):
        if isinstance(outcome, Failed):
            stuck[part[0]] = str(outcome.error)
    return stuck


def held_by_others(connection: Connection, table: Table, ids: Collection[str], got: Collection[str]) -> set[str]:
    """Those rows that are there and could not be locked, when `got` could."""
    missing = set(ids).difference(got)
    if not missing:
        return missing
    there = f"SELECT id FROM {table} WHERE id = ANY(CAST(:ids AS text[]))"
    return set(fetch_column(connection, there, ids=sorted(missing)))


def lock_meters_in_turns(connection: Connection, meter_ids: Collection[str], invoice_ids: Collection[str] = ()) -> None:
    """Locks these meters, then these invoices, for a writer that has much to lose and may wait for long.

    While it waits it holds a part of them for half a second at most, then none for as long, so that calculations go
    on. Raises DatabaseFailed, which names the session in the way, after PATIENCE_SECONDS.
    """
    give_up = time.monotonic() + PATIENCE_SECONDS
    timeout = fetch_value(connection, "SELECT current_setting('lock_timeout')")
    while True:
        try:
            with connection.begin_nested():
                execute(connection, f"SET LOCAL lock_timeout = {round(_ONE_WAIT_SECONDS * 1000)}")
                lock_meters(connection, meter_ids)
                lock_invoices(connection, invoice_ids)
        except DatabaseFailed as error:
            if error.sqlstate != LOCK_NOT_AVAILABLE:
                raise
        else:
            execute(connection, "SELECT set_config('lock_timeout', :timeout, true)", timeout=timeout)
            return
        if time.monotonic() >= give_up:
            table: Table = "meters"
            busy = set(meter_ids).difference(lock_meters(connection, meter_ids, wait=False))
            if not busy:
                table = "invoices"
                busy = set(invoice_ids).difference(lock_invoices(connection, invoice_ids, wait=False))
            first = min(busy, default="")
            who = locked_by(connection, table, busy).get(first, "another session")
            raise DatabaseFailed(
                f"{table.removesuffix('s')} {first} has been locked by {who} for {PATIENCE_SECONDS:g} s and longer: "
                "end that session or wait for it, then run this command again",
                LOCK_NOT_AVAILABLE,
            )
        threading.Event().wait(_PAUSE_SECONDS)


def wait_briefly(connection: Connection) -> None:
    """Lets no lock of this transaction be waited for longer than 0.3 s."""
    execute(connection, "SET LOCAL lock_timeout = '300ms'")


def lock_tables_at_once(connection: Connection) -> None:
    """Raises DatabaseFailed (55P03) if somebody else has locked one of the tables that calculations are stored in."""
    execute(connection, f"LOCK TABLE {_WRITTEN} IN ROW EXCLUSIVE MODE NOWAIT")
    execute(connection, f"LOCK TABLE {_READ_LOCKED} IN ROW SHARE MODE NOWAIT")


def locked_by(connection: Connection, table: Table, ids: Collection[str]) -> dict[str, str]:
    """Which of these rows another session has locked or changed in a transaction that still runs, and which one.

    A row that is locked bears the number of the transaction, and that transaction's session holds a lock on it. With a
    savepoint's number, or that of several who share a lock, only trying tells whether it holds, and nothing says whose.
    """
    rows = fetch(
        connection,
        f"""SELECT t.id, l.pid, coalesce(nullif(a.application_name, ''), a.usename, '?') AS application,
                     to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS since
                 FROM {table} t JOIN pg_locks l ON l.locktype = 'transactionid' AND l.granted
                     AND l.mode = 'ExclusiveLock' AND l.transactionid = t.xmax
                 LEFT JOIN pg_stat_activity a ON a.pid = l.pid
                 WHERE t.id = ANY(CAST(:ids AS text[])) AND l.pid <> pg_backend_pid()""",
        ids=sorted(ids),
    )
    found = {
        row.id: f"session {row.pid} ({row.application})" + (f" since {row.since}Z" if row.since else "") for row in rows
    }
    touched = f"SELECT id FROM {table} WHERE id = ANY(CAST(:ids AS text[])) AND CAST(xmax AS text) <> '0'"
    unsure = fetch_column(connection, touched, ids=sorted(set(ids).difference(found)))
    free = (lock_meters if table == "meters" else lock_invoices)(connection, unsure, wait=False)
    return found | dict.fromkeys(set(unsure).difference(free), "another session")


def _lock(connection: Connection, table: str, strength: str, ids: Collection[str], *, wait: bool) -> list[str]:
    if not ids:
        return []
    statement = f"SELECT id FROM {table} WHERE id = ANY(CAST(:ids AS text[])) ORDER BY id {strength}"
    return fetch_column(connection, statement if wait else f"{statement} SKIP LOCKED", ids=sorted(ids))
