-- Meters and network users of a measurement location from one instant to another, what is taken back, and remarks.
-- meter_assignments follows from measurement_locations: each row is a time in which a location has one meter and one
-- user. Its trigger assign makes it anew. No time of it is in two rows of one meter: the import looks.
-- spans_of: which meters a document bills for which time, segment by segment.

ALTER TABLE measurement_locations
    ALTER COLUMN network_user DROP NOT NULL,
    ALTER COLUMN meter_id DROP NOT NULL,
    DROP CONSTRAINT measurement_locations_meter_id_key,
    ADD COLUMN meters jsonb,        -- [{meter, from, until, opening, closing}]; null: meter_id, always
    ADD COLUMN network_users jsonb, -- [{network_user, from, until}]; null: network_user, always
    ADD COLUMN gaps text CHECK (gaps IN ('refuse', 'unbilled')), -- null: refuse
    ADD CHECK ((meter_id IS NULL) <> (meters IS NULL) AND (network_user IS NULL) <> (network_users IS NULL));
ALTER TABLE meters ADD COLUMN connection_power_w integer CHECK (connection_power_w > 0);

CREATE TABLE meter_assignments (
    measurement_location text NOT NULL REFERENCES measurement_locations ON DELETE CASCADE,
    network_user text NOT NULL REFERENCES network_users,
    meter_id text NOT NULL REFERENCES meters,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    user_ends_at timestamptz NOT NULL, -- until when the user has the location, with whichever meter
    opening bigint[],                  -- the registers of the exchange's protocol, in the order of readings
    closing bigint[],
    gap_since timestamptz,             -- since when it had been nobody's, or without a meter
    gap_until timestamptz,
    PRIMARY KEY (measurement_location, starts_at),
    CHECK (starts_at < ends_at)
);
CREATE INDEX meter_assignments_network_user ON meter_assignments (network_user);
CREATE INDEX meter_assignments_meter ON meter_assignments (meter_id);

CREATE FUNCTION registers_in(protocol jsonb) RETURNS bigint[] LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN jsonb_typeof(protocol) = 'object' THEN ARRAY[
        (protocol->>'active_import_total_wh')::bigint, (protocol->>'active_import_t1_wh')::bigint,
        (protocol->>'active_import_t2_wh')::bigint, (protocol->>'active_export_total_wh')::bigint,
        (protocol->>'reactive_import_total_varh')::bigint, (protocol->>'reactive_export_total_varh')::bigint] END
$$;
CREATE FUNCTION assign() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM meter_assignments WHERE measurement_location = NEW.id;
    INSERT INTO meter_assignments
    WITH metered AS (
        SELECT m->>'meter' AS meter_id, coalesce((m->>'from')::timestamptz, '-infinity') AS since,
            coalesce((m->>'until')::timestamptz, 'infinity') AS till,
            registers_in(m->'opening') AS opening, registers_in(m->'closing') AS closing
        FROM jsonb_array_elements(
            coalesce(NEW.meters, jsonb_build_array(jsonb_build_object('meter', NEW.meter_id)))) AS m
    ), used AS (
        SELECT u->>'network_user' AS network_user, coalesce((u->>'from')::timestamptz, '-infinity') AS since,
            coalesce((u->>'until')::timestamptz, 'infinity') AS till
        FROM jsonb_array_elements(
            coalesce(NEW.network_users, jsonb_build_array(jsonb_build_object('network_user', NEW.network_user)))) AS u
    ), both_of_them AS (
        SELECT u.network_user, m.meter_id, greatest(m.since, u.since) AS starts_at, least(m.till, u.till) AS ends_at,
            u.till AS user_ends_at, CASE WHEN m.since >= u.since THEN m.opening END AS opening,
            CASE WHEN m.till <= u.till THEN m.closing END AS closing
        FROM metered m JOIN used u ON m.since < u.till AND u.since < m.till
    )
    SELECT NEW.id, b.*, nullif(lag(ends_at) OVER in_time, starts_at), nullif(lead(starts_at) OVER in_time, ends_at)
    FROM both_of_them b WINDOW in_time AS (ORDER BY starts_at);
    RETURN NULL;
END $$;
CREATE TRIGGER assigned AFTER INSERT OR UPDATE ON measurement_locations FOR EACH ROW EXECUTE FUNCTION assign();
UPDATE measurement_locations SET gaps = gaps; -- those that are there get their assignments

-- A document made before has no segments: its meters bill the whole period.
CREATE OR REPLACE FUNCTION spans_of(d invoice_documents)
    RETURNS TABLE (meter_id text, starts_at timestamptz, ends_at timestamptz) LANGUAGE sql STABLE AS $$
    SELECT DISTINCT s->>'meter_id', CAST(s->>'from' AS timestamptz), CAST(s->>'until' AS timestamptz)
    FROM jsonb_array_elements(d.calculations) AS c, jsonb_array_elements(coalesce(c->'segments',
        jsonb_build_array(jsonb_build_object('meter_id', c->'meter_id',
            'from', d.snapshot->'period_start', 'until', d.snapshot->'period_end')))) AS s
    WHERE d.snapshot ? 'period_start' AND d.snapshot ? 'period_end'
$$;

ALTER TABLE invoices DROP CONSTRAINT invoices_ended_by_check,
    ADD CONSTRAINT invoices_ended_by_check CHECK (ended_by IN ('erp', 'operator', 'correction', 'master data'));
