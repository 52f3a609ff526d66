-- Of an invoice or a user `of` with `network_user_id` and `period`: where it is measured, and the prices in force.
-- name: in_force
JOIN network_users u ON u.id = of.network_user_id JOIN locations l ON l.id = u.location
JOIN measurement_locations ml ON ml.network_user = u.id
LEFT JOIN LATERAL (
    SELECT * FROM regulatory_catalogues c WHERE c.id = l.regulatory_catalogue AND c.valid_from <= of.period
    ORDER BY c.valid_from DESC LIMIT 1
) AS rc ON true
LEFT JOIN LATERAL (
    SELECT * FROM network_user_catalogues c WHERE c.id = ml.catalogue AND c.valid_from <= of.period
    ORDER BY c.valid_from DESC LIMIT 1
) AS nc ON true

-- name: prices_of_open_invoices
SELECT of.id, ml.id AS measurement_location, jsonb_build_array(
    to_jsonb(rc) - ARRAY['id', 'title', 'valid_from'], to_jsonb(nc) - ARRAY['id', 'title', 'valid_from']
) AS prices
FROM invoices of {in_force}
WHERE {IS_DUE} OR of.held_from = '{DUE}'

-- name: touched
SELECT count(DISTINCT id) FROM prices_before b JOIN ({prices_of_open_invoices}) a USING (id, measurement_location)
WHERE a.prices IS DISTINCT FROM b.prices

-- name: without_measurement_location
SELECT u.id FROM network_users u
WHERE NOT EXISTS (SELECT FROM measurement_locations ml WHERE ml.network_user = u.id) ORDER BY u.id

-- name: without_prices
SELECT u.id, u.billed_from,
    CASE WHEN rc.id IS NULL THEN 'regulatory catalogue ' || l.regulatory_catalogue
         ELSE 'network-user catalogue ' || ml.catalogue END AS catalogue
FROM (SELECT id AS network_user_id, billed_from AS period FROM network_users) AS of {in_force}
WHERE rc.id IS NULL OR nc.id IS NULL ORDER BY u.id, ml.id
