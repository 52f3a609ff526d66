-- A file of a new month goes straight into the month's table. The daemon looks through it there, and what belongs to other
-- months is removed before it becomes a partition.
CREATE OR REPLACE FUNCTION readings_month(first_day date, filled boolean) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    name text := to_char(first_day, '"readings_"YYYY_MM');
    writer text;
BEGIN
    IF first_day IS DISTINCT FROM date_trunc('month', first_day)::date THEN
        RAISE EXCEPTION '% is no first day of a month', first_day USING ERRCODE = 'invalid_parameter_value';
    ELSIF filled THEN
        EXECUTE format('DELETE FROM public.%I WHERE at < %L OR at >= %L', name,
            to_char(first_day, 'YYYY-MM-DD" 00:00Z"'), to_char(first_day + interval '1 month', 'YYYY-MM-DD" 00:00Z"'));
        EXECUTE format('ALTER TABLE public.%I ADD PRIMARY KEY (meter_id, at)', name);
        EXECUTE format('ALTER TABLE public.readings ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', name,
            to_char(first_day, 'YYYY-MM-DD" 00:00Z"'), to_char(first_day + interval '1 month', 'YYYY-MM-DD" 00:00Z"'));
    ELSE
        EXECUTE format('CREATE TABLE public.%I (LIKE public.readings)', name);
        FOR writer IN SELECT DISTINCT quote_ident(r.rolname) FROM pg_class c, aclexplode(c.relacl) a, pg_roles r
            WHERE c.oid = 'public.readings'::regclass AND a.privilege_type = 'INSERT' AND r.oid = a.grantee
        LOOP
            EXECUTE format('GRANT SELECT, INSERT ON public.%I TO %s', name, writer);
        END LOOP;
    END IF;
END $$;
