-- Runs after the migrations of each upgrade. Text keys use the "C" collation: their order, and so their indexes, then
-- outlive an upgrade of the operating system. Where the database's own collation is C, or is built into PostgreSQL, they have
-- it already. A column that a trigger names can't be altered, so such a trigger is made anew.
DO $$
DECLARE
    keys record;
    triggers text[];
    definition text;
BEGIN
    FOR keys IN
        SELECT c.oid::regclass AS name,
            string_agg(DISTINCT format('ALTER COLUMN %I TYPE text COLLATE "C"', a.attname), ', ') AS changes
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_attribute a ON a.attrelid = c.oid
            AND a.attnum = ANY(i.indkey) AND a.atttypid = 'text'::regtype
            AND a.attcollation = 'pg_catalog.default'::regcollation
        JOIN pg_database d ON d.datname = current_database()
        WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition AND c.relname <> 'alembic_version'
            AND CASE coalesce(to_jsonb(d)->>'datlocprovider', 'c')
                WHEN 'b' THEN false WHEN 'c' THEN d.datcollate NOT IN ('C', 'POSIX') ELSE true END
        GROUP BY c.oid
    LOOP
        triggers := ARRAY(SELECT pg_get_triggerdef(oid) FROM pg_trigger
            WHERE tgrelid = keys.name AND NOT tgisinternal AND (tgattr::text <> '' OR tgqual IS NOT NULL));
        FOR definition IN SELECT format('DROP TRIGGER %I ON %s', tgname, keys.name) FROM pg_trigger
            WHERE tgrelid = keys.name AND NOT tgisinternal AND (tgattr::text <> '' OR tgqual IS NOT NULL)
        LOOP
            EXECUTE definition;
        END LOOP;
        EXECUTE format('ALTER TABLE %s %s', keys.name, keys.changes);
        FOREACH definition IN ARRAY triggers LOOP
            EXECUTE definition;
        END LOOP;
    END LOOP;
END $$
