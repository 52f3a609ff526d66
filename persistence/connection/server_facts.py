"""What the database server says of itself, and which rights its user lacks."""

from typing import Any

from sqlalchemy import Connection

from persistence.connection.statements import fetch_column, fetch_row

_WRITTEN = ("invoices", "invoice_documents", "invoice_history", "readings", "erp_exchanges", "alarms", "instances")


def server_facts(connection: Connection) -> Any:
    """Its `version`, `encoding`, `now`, and its `free` connections."""
    return fetch_row(
        connection,
        """SELECT current_setting('server_version') AS version,
                    current_setting('server_encoding') AS encoding, clock_timestamp() AS now,
                    current_setting('max_connections')::int - (SELECT count(*) FROM pg_stat_activity
                        WHERE backend_type = 'client backend') AS free""",
    )


def lacking_rights(connection: Connection) -> list[str]:
    """Each table and right that billing needs and this user has not."""
    return fetch_column(
        connection,
        """SELECT name || ' ' || right_asked FROM unnest(CAST(:tables AS text[])) AS name,
                    unnest(ARRAY['SELECT', 'INSERT']) AS right_asked
                WHERE NOT has_table_privilege(name, right_asked)
                UNION ALL SELECT 'invoices UPDATE' WHERE NOT has_table_privilege('invoices', 'UPDATE')
                ORDER BY 1""",
        tables=list(_WRITTEN),
    )
