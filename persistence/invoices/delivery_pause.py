"""The pauses of delivery that a person orders, for the ERP's maintenance: at most one stands, and it ends by itself."""

from sqlalchemy import Connection

from persistence.connection.statements import execute, fetch_row, notify
from persistence.invoices.overview import Pause, pause_in_force
from persistence.sql import Queries

_SQL = Queries(__file__)


def pause(connection: Connection, by: str, reason: str, seconds: float) -> Pause:
    """Lets nothing be claimed for delivery for so long, in place of a pause that stands; what is under way ends."""
    execute(connection, "LOCK TABLE delivery_pauses IN SHARE ROW EXCLUSIVE MODE")  # of two at once the later stands
    execute(connection, _SQL.resume, by=by, reason="replaced by another pause")
    row = fetch_row(connection, _SQL.pause, seconds=seconds, by=by, reason=reason)
    notify(connection, "pause")
    return Pause(*row)


def resume(connection: Connection, by: str, reason: str) -> bool:
    """Ends the pause that stands; False if there is none."""
    standing = pause_in_force(connection)
    execute(connection, _SQL.resume, by=by, reason=reason)
    notify(connection, "resume")
    return standing is not None
