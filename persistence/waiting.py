"""Invoices that wait in due for their data: taken up again at once when data has come."""

from collections.abc import Sequence

from sqlalchemy import Connection, text

from persistence.connection import notify

_CONCERNED = """state = 'due' AND (CAST(:meters AS text[]) IS NULL OR network_user_id IN (
    SELECT network_user FROM measurement_locations WHERE meter_id = ANY(CAST(:meters AS text[]))))"""
# All of them until the data is committed: one that is claimed in between would be calculated without it, and wait for
# what is there. In the order of the ids, as every writer of invoices does it, so that none waits for another in a ring.
_LOCK = f"SELECT FROM invoices WHERE {_CONCERNED} ORDER BY id FOR UPDATE"
# One that is being calculated rests on what was there before: its claim is raised, so that what is about to be stored
# of it is refused and it is calculated again.
_RELEASE = f"""
    UPDATE invoices SET next_attempt_at = NULL, claim = claim + (claimed_by IS NOT NULL)::int
    WHERE {_CONCERNED} AND (claimed_by IS NOT NULL OR (held_code IS NOT NULL AND next_attempt_at IS NOT NULL))
    RETURNING held_code"""


def release_waiting(connection: Connection, meters: Sequence[str] | None = None) -> int:
    """Ends the waiting of due invoices with any of these meters (None: of all) and nudges the daemons to look.

    Nobody can claim them until the transaction ends. Gives how many had waited. What waits for its backoff after a
    crash is not touched.
    """
    concerned = {"meters": None if meters is None else list(meters)}
    connection.execute(text(_LOCK), concerned)
    released = connection.execute(text(_RELEASE), concerned).scalars().all()
    notify(connection, "due")
    return sum(code is not None for code in released)
