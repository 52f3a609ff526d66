-- name: server
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int / 10000 AS major,
    current_setting('server_encoding') AS encoding, clock_timestamp() AS now,
    current_setting('max_connections')::int - (SELECT count(*) FROM pg_stat_activity
        WHERE backend_type = 'client backend') AS free

-- name: collation_moved
SELECT datcollversion <> pg_database_collation_actual_version(oid) FROM pg_database WHERE datname = current_database()

-- name: sorted_keys
SELECT DISTINCT c.relname || '.' || a.attname AS key FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)
    WHERE c.relnamespace = 'public'::regnamespace AND c.relname <> 'alembic_version'
        AND a.attcollation NOT IN (0, 'pg_catalog."C"'::regcollation) ORDER BY 1
