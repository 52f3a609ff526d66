"""What the database server says of itself."""

from typing import Any

from sqlalchemy import Connection

from persistence.connection.statements import fetch_row


def server_facts(connection: Connection) -> Any:
    """Its `version`, `encoding`, `now`, and its `free` connections."""
    return fetch_row(
        connection,
        """SELECT current_setting('server_version') AS version,
                    current_setting('server_encoding') AS encoding, clock_timestamp() AS now,
                    current_setting('max_connections')::int - (SELECT count(*) FROM pg_stat_activity
                        WHERE backend_type = 'client backend') AS free""",
    )
