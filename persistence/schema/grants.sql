-- The roles of billingd. Run as a superuser, in billingd's database, before the first `billingd db upgrade` and
-- after each one: billingd db grants | psql --dbname billingd
--   {owner}   owns the tables: `billingd db upgrade`, archiving
--   {daemon}  `billingd run` and every command but db upgrade
--   {reader}  only looks: status, invoices list and show, verify
-- Passwords are not set here: \password {daemon}
DO $grants$
DECLARE
    thing record;
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['{owner}', '{daemon}', '{reader}'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I LOGIN', role);
        END IF;
        EXECUTE pg_catalog.format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %I', pg_catalog.current_database(), role);
    END LOOP;
    -- What `db upgrade` has made as somebody else until now.
    FOR thing IN
        SELECT 'TABLE' AS kind, oid::regclass::text AS name FROM pg_catalog.pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relowner =
            (SELECT relowner FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass('public.alembic_version'))
        UNION ALL SELECT 'FUNCTION', oid::regprocedure::text FROM pg_catalog.pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proowner =
            (SELECT relowner FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass('public.alembic_version'))
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
    LOOP
        EXECUTE pg_catalog.format('ALTER %s %s OWNER TO {owner}', thing.kind, thing.name);
    END LOOP;
    -- What the daemon changes, beyond reading. It deletes no invoice, document, history, reading or root.
    FOR thing IN SELECT * FROM (VALUES
        ('regulatory_catalogues', 'INSERT, UPDATE'),
        ('network_user_catalogues', 'INSERT, UPDATE'),
        ('locations', 'INSERT, UPDATE'),
        ('network_users', 'INSERT, UPDATE'),
        ('meters', 'INSERT, UPDATE'),
        ('measurement_locations', 'INSERT, UPDATE'),
        ('meter_assignments', 'INSERT, UPDATE, DELETE'),
        ('readings', 'INSERT, UPDATE'),
        ('readings_replaced', 'INSERT'),
        ('imports', 'INSERT, DELETE'),
        ('invoices', 'INSERT, UPDATE'),
        ('invoice_documents', 'INSERT'),
        ('invoice_history', 'INSERT, UPDATE'), -- UPDATE only to lock it for the daily root: a trigger refuses any
        ('erp_exchanges', 'INSERT, UPDATE'),
        ('billed_spans', 'INSERT, DELETE'),
        ('recalculation_requests', 'INSERT, UPDATE, DELETE'),
        ('audit_roots', 'INSERT'),
        ('period_closings', 'INSERT, UPDATE'),
        ('delivery_pauses', 'INSERT, UPDATE'),
        ('alarms', 'INSERT, UPDATE'),
        ('database_timelines', 'INSERT'),
        ('instances', 'INSERT, UPDATE')
    ) AS rights (name, list) WHERE pg_catalog.to_regclass('public.' || name) IS NOT NULL LOOP
        EXECUTE pg_catalog.format('GRANT %s ON public.%I TO {daemon}', thing.list, thing.name);
    END LOOP;
    IF pg_catalog.to_regprocedure('public.readings_month(date, boolean)') IS NOT NULL THEN
        GRANT EXECUTE ON FUNCTION public.readings_month(date, boolean) TO {daemon};
    END IF;
END $grants$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO {owner}, {daemon}, {reader};
GRANT CREATE ON SCHEMA public TO {owner};
GRANT SELECT ON ALL TABLES IN SCHEMA public TO {daemon}, {reader};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT SELECT ON TABLES TO {daemon}, {reader};
