"""The pauses of delivery that a person orders, for the ERP's maintenance: at most one stands, and it ends by itself."""

from sqlalchemy import Connection

from persistence.connection.statements import execute, fetch_row, notify
from persistence.invoices.overview import Pause, pause_in_force


def pause(connection: Connection, by: str, reason: str, seconds: float) -> Pause:
    """Lets nothing be claimed for delivery for so long, in place of a pause that stands; what is under way ends."""
    _end(connection, by, "replaced by another pause")
    row = fetch_row(
        connection,
        """INSERT INTO delivery_pauses (until, by, reason)
                VALUES (now() + make_interval(secs => :seconds), :by, :reason) RETURNING *""",
        seconds=seconds,
        by=by,
        reason=reason,
    )
    notify(connection, "pause")
    return Pause(row.since, row.until, row.by, row.reason)


def resume(connection: Connection, by: str, reason: str) -> bool:
    """Ends the pause that stands; False if there is none."""
    standing = pause_in_force(connection)
    _end(connection, by, reason)
    notify(connection, "resume")
    return standing is not None


def _end(connection: Connection, by: str, reason: str) -> None:
    execute(
        connection,
        """UPDATE delivery_pauses SET resumed_at = now(), resumed_by = :by, resume_reason = :reason
                WHERE resumed_at IS NULL""",
        by=by,
        reason=reason,
    )
