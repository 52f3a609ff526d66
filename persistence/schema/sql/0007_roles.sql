-- The daemon's role owns nothing. What needs the owner's rights at work is one function: readings_month makes the
-- partition of a month, empty and apart, so that the caller can fill it; the second call, when it is filled, gives it its
-- key and attaches it. It does nothing else: the table is always one of its own name, never one with a key already.
-- Its search_path is pinned, because it runs with the owner's rights.

CREATE FUNCTION readings_month(first_day date, filled boolean) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    name text := to_char(first_day, '"readings_"YYYY_MM');
    writer text;
BEGIN
    IF first_day IS DISTINCT FROM date_trunc('month', first_day)::date THEN
        RAISE EXCEPTION '% is no first day of a month', first_day USING ERRCODE = 'invalid_parameter_value';
    ELSIF filled THEN
        EXECUTE format('ALTER TABLE public.%I ADD PRIMARY KEY (meter_id, at)', name);
        EXECUTE format('ALTER TABLE public.readings ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', name,
            to_char(first_day, 'YYYY-MM-DD" 00:00Z"'), to_char(first_day + interval '1 month', 'YYYY-MM-DD" 00:00Z"'));
    ELSE
        EXECUTE format('CREATE TABLE public.%I (LIKE public.readings)', name);
        FOR writer IN SELECT DISTINCT quote_ident(r.rolname) FROM pg_class c, aclexplode(c.relacl) a, pg_roles r
            WHERE c.oid = 'public.readings'::regclass AND a.privilege_type = 'INSERT' AND r.oid = a.grantee
        LOOP
            EXECUTE format('GRANT INSERT ON public.%I TO %s', name, writer);
        END LOOP;
    END IF;
END $$;
REVOKE EXECUTE ON FUNCTION readings_month FROM PUBLIC;
-- Nobody else makes a table, function or operator that could stand beside ours. (Not an error where we may not.)
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
