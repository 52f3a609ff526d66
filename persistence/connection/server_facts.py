"""What the database server says of itself."""

from typing import Any

from sqlalchemy import Connection

from persistence.connection.statements import fetch_column, fetch_row, fetch_value


def server_facts(connection: Connection) -> Any:
    """Its `version` and the `major` one, `encoding`, `now`, and its `free` connections."""
    return fetch_row(
        connection,
        """SELECT current_setting('server_version') AS version,
                    current_setting('server_version_num')::int / 10000 AS major,
                    current_setting('server_encoding') AS encoding, clock_timestamp() AS now,
                    current_setting('max_connections')::int - (SELECT count(*) FROM pg_stat_activity
                        WHERE backend_type = 'client backend') AS free""",
    )


def moved_collation_keys(connection: Connection, major: int) -> list[str] | None:
    """Which indexed text has an order that the operating system, upgraded, has changed; None if it has changed none.

    Before PostgreSQL 15 a database doesn't know by which version its order was made.
    """
    moved = "SELECT datcollversion <> pg_database_collation_actual_version(oid) FROM pg_database WHERE datname = :name"
    if major < 15 or not fetch_value(connection, moved, name=fetch_value(connection, "SELECT current_database()")):
        return None
    return fetch_column(
        connection,
        """SELECT DISTINCT c.relname || '.' || a.attname AS key FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)
            WHERE c.relnamespace = 'public'::regnamespace AND c.relname <> 'alembic_version'
                AND a.attcollation NOT IN (0, 'pg_catalog."C"'::regcollation) ORDER BY 1""",
    )
