"""The servers and timelines that the database has stood on: a change of them may have lost what was committed last."""

from sqlalchemy import Connection

from persistence.connection.seen_server import SERVER
from persistence.connection.statements import fetch_value
from persistence.sql import Queries

_SQL = Queries(__file__, SERVER=SERVER)

CHANGE = "(SELECT max(id) FROM database_timelines WHERE asked_up_to IS NOT NULL)"
"""The last change, in SQL; null: there was none."""
ASK_FIRST = "(period <= (SELECT max(asked_up_to) FROM database_timelines)) IS TRUE"
"""Whether an invoice may have been offered in what a change has lost: its period was over by then."""


def record_change(connection: Connection, asked_up_to: str, *, changed: bool) -> bool:
    """Stores where the database stands now, if that is new; True if it stood elsewhere before.

    `asked_up_to` is the last period that is over. `changed` says that it is new though server and timeline are known.
    From the commit on no invoice that may have been offered before is offered without a question
    (docs/spec/failures.md, "Failover").
    """
    return fetch_value(connection, _SQL.record, asked_up_to=asked_up_to, changed=changed) is not None
