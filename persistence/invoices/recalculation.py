"""What has to be calculated again because its data has changed: requested by whoever changes data, met by a daemon."""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection

from billing.invoice import WAITS_FOR_DATA
from persistence.connection.statements import execute, fetch, fetch_column, fetch_value, notify
from persistence.locks import change_each
from persistence.sql import Queries

AT_ONCE = 5_000
"""So many requests are taken up, and so many invoices released, in one transaction."""

# A due invoice that nobody has claimed and that does not wait will be calculated from the data of then anyway.
_HAS_OLD_DATA = """state = 'due'
    AND (claimed_by IS NOT NULL OR (held_code = ANY(CAST(:codes AS text[])) AND next_attempt_at IS NOT NULL))"""
_SQL = Queries(__file__, HAS_OLD_DATA=_HAS_OLD_DATA)


def request(connection: Connection, meter_ids: Collection[str] | None) -> None:
    """Asks for the due invoices with any of these meters (None: for all), and nudges the daemons. Locks nothing."""
    execute(connection, _SQL.request_meters, meters=[None] if meter_ids is None else sorted(meter_ids))
    notify(connection, "due")


def waiting(connection: Connection, meter_ids: Collection[str]) -> int:
    """How many due invoices wait for data and have one of these meters."""
    values = {"codes": list(WAITS_FOR_DATA), "meters": sorted(meter_ids)}
    return int(fetch_value(connection, _SQL.waiting, **values))


def take_up(connection: Connection) -> int:
    """Meets what has been requested: those concerned wait no longer, and results in hand are refused when they come.

    Returns how many invoices it has released. It waits for no row: an invoice that somebody else has locked, or whose
    row the database refuses, is requested anew by its id. So is what exceeds AT_ONCE: what is in hand comes first.
    What waits for its backoff after a crash waits on.
    """
    taken = fetch(connection, _SQL.take, limit=AT_ONCE)
    if not taken:
        return 0
    meters = sorted({row.meter_id for row in taken if row.meter_id is not None})
    invoices = sorted({row.invoice_id for row in taken if row.invoice_id is not None})
    of_all = any(row.meter_id is None and row.invoice_id is None for row in taken)
    values = {"codes": list(WAITS_FOR_DATA), "all": of_all, "meters": meters, "invoices": invoices}
    concerned = fetch_column(connection, _SQL.concerned, **values)
    wanted, later = concerned[:AT_ONCE], concerned[AT_ONCE:]
    released: list[int] = []

    def release(ids: Sequence[str]) -> None:
        released.append(execute(connection, _SQL.release, codes=list(WAITS_FOR_DATA), ids=list(ids)))

    if kept := [*change_each(connection, wanted, release), *later]:
        execute(connection, _SQL.request_invoices, ids=sorted(kept))
    return sum(released)
