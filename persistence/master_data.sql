-- Of an invoice or a user `of` with `network_user_id` and `period`: where it is measured, and the prices in force.
-- name: in_force
JOIN network_users u ON u.id = of.network_user_id JOIN locations l ON l.id = u.location
JOIN measurement_locations ml ON ml.id IN (SELECT measurement_location FROM meter_assignments WHERE network_user = u.id)
LEFT JOIN LATERAL (
    SELECT * FROM regulatory_catalogues c WHERE c.id = l.regulatory_catalogue AND c.valid_from <= of.period
    ORDER BY c.valid_from DESC LIMIT 1
) AS rc ON true
LEFT JOIN LATERAL (
    SELECT * FROM network_user_catalogues c WHERE c.id = catalogue_in(ml, of.period) AND c.valid_from <= of.period
    ORDER BY c.valid_from DESC LIMIT 1
) AS nc ON true

-- name: prices_of_open_invoices
SELECT of.id, ml.id AS measurement_location, jsonb_build_array(
    to_jsonb(rc) - ARRAY['id', 'title', 'valid_from'], to_jsonb(nc) - ARRAY['id', 'title', 'valid_from']
) AS prices
FROM invoices of {in_force}
WHERE {IS_DUE} OR of.held_from = '{DUE}'

-- name: touched
SELECT count(DISTINCT id) FROM prices_of_open_invoices_before b JOIN ({prices_of_open_invoices}) a USING (id, measurement_location)
WHERE a.prices IS DISTINCT FROM b.prices

-- name: without_measurement_location
SELECT u.id FROM network_users u
WHERE NOT EXISTS (SELECT FROM meter_assignments a WHERE a.network_user = u.id) ORDER BY u.id

-- name: without_prices
SELECT u.id, u.billed_from,
    CASE WHEN rc.id IS NULL THEN 'regulatory catalogue ' || l.regulatory_catalogue
         ELSE 'network-user catalogue ' || coalesce(catalogue_in(ml, of.period), 'none') END AS catalogue
FROM (SELECT id AS network_user_id, billed_from AS period FROM network_users) AS of {in_force}
WHERE rc.id IS NULL OR nc.id IS NULL ORDER BY u.id, ml.id

-- name: assignments
SELECT a.*, u.billed_from, u.billed_until FROM meter_assignments a JOIN network_users u ON u.id = a.network_user

-- name: meters_twice
SELECT DISTINCT ON (a.measurement_location, a.meter_id)
    a.measurement_location AS id, a.meter_id, b.measurement_location AS other
FROM meter_assignments a JOIN meter_assignments b USING (meter_id)
WHERE a.measurement_location = ANY(CAST(:ids AS text[])) AND b.measurement_location <> a.measurement_location
    AND b.starts_at < a.ends_at AND b.ends_at > a.starts_at

-- Of live invoices those that bill what their users had in the tables before, and have not now, or by other registers;
-- and of the users who have that now the last invoices, if they don't bill it.
-- name: to_correct
SELECT DISTINCT i.id, i.state FROM billed_spans b JOIN invoices i ON i.id = b.invoice_id
WHERE EXISTS (SELECT FROM assignments_before o WHERE {COVERED_BEFORE} AND NOT EXISTS (
    SELECT FROM ({assignments}) a WHERE {COVERED_NOW}
        AND CASE WHEN a.starts_at = b.starts_at THEN a.opening END
            IS NOT DISTINCT FROM CASE WHEN o.starts_at = b.starts_at THEN o.opening END
        AND CASE WHEN a.ends_at = b.ends_at THEN a.closing END
            IS NOT DISTINCT FROM CASE WHEN o.ends_at = b.ends_at THEN o.closing END))
UNION
SELECT i.id, i.state FROM ({assignments}) a
JOIN assignments_before o ON o.meter_id = a.meter_id AND o.network_user <> a.network_user
    AND o.starts_at < a.ends_at AND o.ends_at > a.starts_at
JOIN LATERAL (
    SELECT of.*, {FIRST_DAY} AT TIME ZONE CAST(:time_zone AS text) AS starts_at,
        ({FIRST_DAY} + interval '1 month') AT TIME ZONE CAST(:time_zone AS text) AS ends_at
    FROM invoices of WHERE of.network_user_id = a.network_user AND of.total_eur IS NOT NULL AND of.state <> '{ABORTED}'
        AND NOT EXISTS (SELECT FROM invoices l WHERE l.network_user_id = of.network_user_id AND l.period = of.period
            AND l.revision > of.revision AND l.state <> '{ABORTED}')
) AS i ON i.period >= a.billed_from AND (a.billed_until IS NULL OR i.period <= a.billed_until)
    AND greatest(a.starts_at, o.starts_at, i.starts_at) < least(a.ends_at, o.ends_at, i.ends_at)
WHERE NOT EXISTS (SELECT FROM billed_spans b WHERE b.invoice_id = i.id AND b.meter_id = a.meter_id
    AND b.starts_at <= greatest(a.starts_at, o.starts_at, i.starts_at)
    AND b.ends_at >= least(a.ends_at, o.ends_at, i.ends_at))
ORDER BY id
