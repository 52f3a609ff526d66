-- What every session sets for itself, in one round trip, and what it finds: a role, a database or a server may carry
-- other settings from years ago, and none of them may change how values look, what a transaction is, or how long
-- anything takes. Not as startup parameters: PgBouncer refuses those it doesn't know. What only tunes the planner
-- (work_mem, enable_*, costs) is left to whoever set it.

-- how values look
SET client_encoding TO 'UTF8';
SET DateStyle TO 'ISO, YMD';
SET IntervalStyle TO 'postgres';
SET TimeZone TO 'UTC';
SET bytea_output TO 'hex';
SET extra_float_digits TO 1;
SET lc_numeric TO 'C';
SET lc_monetary TO 'C';
SET lc_time TO 'C';
SET xmlbinary TO 'base64';
-- how SQL is read: pg_catalog comes first and temporary tables last, so nothing can stand before what is meant
SET search_path TO public, pg_temp;
SET standard_conforming_strings TO on;
SET backslash_quote TO safe_encoding;
SET array_nulls TO on;
SET transform_null_equals TO off;
SET quote_all_identifiers TO off;
SET row_security TO on;
SET client_min_messages TO warning;
-- where tables go
SET default_tablespace TO '';
SET temp_tablespaces TO '';
SET default_table_access_method TO heap;
-- what a transaction is
SET default_transaction_isolation TO 'read committed';
SET default_transaction_deferrable TO off;
SET exit_on_error TO off;
-- Whatever the server is set to: a crash of it may not take back the `sent` that an offer has left under.
SELECT pg_catalog.set_config('synchronous_commit', 'on', false)
    WHERE pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.<>) 'remote_apply';
-- how long things take
SET statement_timeout TO {statement_milliseconds};
SET lock_timeout TO {lock_milliseconds};
-- A daemon that is frozen within a transaction doesn't keep its locks from the others for ever.
SET idle_in_transaction_session_timeout TO {idle_milliseconds};
SET idle_session_timeout TO 0;
{SET transaction_timeout TO 0;}
-- The estimates right after an import are far above what a month of one meter costs.
SET jit TO off;
SET plan_cache_mode TO auto;
-- A SELECT of billing reads a month or two of readings, each a partition.
SET enable_partition_pruning TO on;
SET constraint_exclusion TO partition;
-- The server, too, finds out within about 15 s that we are gone, and gives our locks up.
SET tcp_keepalives_idle TO 5;
SET tcp_keepalives_interval TO 5;
SET tcp_keepalives_count TO 2;
SET tcp_user_timeout TO 15000;
SET application_name TO {application_name};
-- what it finds
SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only'),
    pg_catalog.current_setting('session_replication_role'), pg_catalog.pg_backend_pid();
