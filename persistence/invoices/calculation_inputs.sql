-- One number that changes with any reading, so that `billingd verify` can tell. The operators are those that can't
-- overflow, whatever a register says.
-- name: checksum
sum(mod(step.active_import_total_wh # (step.active_import_t1_wh << 7) # (step.active_import_t2_wh << 13)
    # (step.active_export_total_wh << 19) # (step.reactive_import_total_varh << 29)
    # (step.reactive_export_total_varh << 37), 2147483647)
    * mod(step.active_import_t1_wh # step.reactive_import_total_varh, 65521))::bigint

-- One pass over a meter's readings in the order of the primary key: no sort. No reading of the batch lies outside
-- least_at and most_at: this is known when the query is planned, so it touches no other month's partition.
-- name: steps
SELECT
    count(*) FILTER (WHERE step.exact) AS quarter_hour_pairs, {checksum} AS readings_checksum,
    max(step.active_import_t1_wh - step.before_active_import_t1_wh) FILTER (WHERE step.exact) AS max_t1_step_wh,
    min(step.before_at) FILTER (WHERE NOT step.exact) AS first_gap_after,
    min(step.at) FILTER (
        WHERE {ANY_FALLS}
    ) AS first_fall_at
FROM (
    SELECT *, at - before_at = interval '15 minutes' AS exact FROM (
        SELECT at, {REGISTERS}, lag(at) OVER in_time AS before_at,
            {REGISTERS_BEFORE}
        FROM readings
        WHERE meter_id = ml.meter_id AND at BETWEEN wanted.starts_at AND wanted.ends_at
            AND at BETWEEN CAST(:least_at AS timestamptz) AND CAST(:most_at AS timestamptz)
        WINDOW in_time AS (ORDER BY at)
    ) AS paired
) AS step

-- Of each wanted invoice one row a measurement location, with the master data, prices and readings that it rests on.
-- name: inputs
SELECT wanted.place, u.title AS network_user_title, u.legal_person AS network_user_legal_person,
    u.altibiz_sub_project_code, l.id AS location_id, l.title AS location_title,
    l.legal_person AS location_legal_person, l.regulatory_catalogue,
    rc.valid_from AS regulatory_valid_from, rc.tax_rate_percent,
    {REGULATORY_PRICES},
    ml.id AS measurement_location_id, ml.title AS measurement_location_title, ml.meter_id,
    m.version AS meter_version, billed.invoice_id AS billed_by,
    ml.catalogue, nc.valid_from, nc.kind,
    {NETWORK_USER_PRICES},
    {FIRST_REGISTERS} AS at_start, {LAST_REGISTERS} AS at_end,
    steps.*, {FALLEN_REGISTERS} AS fallen, {BEFORE_REGISTERS} AS before_fall
FROM unnest(
    CAST(:network_user_ids AS text[]), CAST(:periods AS text[]),
    CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[])
) WITH ORDINALITY AS wanted (network_user_id, period, starts_at, ends_at, place)
JOIN network_users u ON u.id = wanted.network_user_id
JOIN locations l ON l.id = u.location
LEFT JOIN LATERAL (
    SELECT * FROM regulatory_catalogues c WHERE c.id = l.regulatory_catalogue
        AND c.valid_from <= wanted.period ORDER BY c.valid_from DESC LIMIT 1
) AS rc ON true
LEFT JOIN measurement_locations ml ON ml.network_user = u.id
LEFT JOIN meters m ON m.id = ml.meter_id
LEFT JOIN LATERAL (
    SELECT b.invoice_id FROM billed_spans b WHERE b.meter_id = ml.meter_id
        AND b.starts_at < wanted.ends_at AND b.ends_at > wanted.starts_at
        AND (b.network_user_id, b.period) <> (wanted.network_user_id, wanted.period)
    ORDER BY b.starts_at, b.invoice_id LIMIT 1
) AS billed ON true
LEFT JOIN LATERAL (
    SELECT * FROM network_user_catalogues c WHERE c.id = ml.catalogue
        AND c.valid_from <= wanted.period ORDER BY c.valid_from DESC LIMIT 1
) AS nc ON true
LEFT JOIN readings first ON first.meter_id = ml.meter_id AND first.at = wanted.starts_at
    AND first.at BETWEEN CAST(:least_at AS timestamptz) AND CAST(:most_at AS timestamptz)
LEFT JOIN readings last ON last.meter_id = ml.meter_id AND last.at = wanted.ends_at
    AND last.at BETWEEN CAST(:least_at AS timestamptz) AND CAST(:most_at AS timestamptz)
LEFT JOIN LATERAL ({steps}) AS steps ON true
LEFT JOIN readings fallen ON fallen.meter_id = ml.meter_id AND fallen.at = steps.first_fall_at
    AND fallen.at BETWEEN CAST(:least_at AS timestamptz) AND CAST(:most_at AS timestamptz)
LEFT JOIN LATERAL (
    SELECT * FROM readings r WHERE r.meter_id = ml.meter_id AND r.at < steps.first_fall_at
        AND r.at BETWEEN CAST(:least_at AS timestamptz) AND CAST(:most_at AS timestamptz) ORDER BY r.at DESC LIMIT 1
) AS before ON true
ORDER BY wanted.place, ml.id
