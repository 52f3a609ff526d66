-- One number that changes with any reading, so that `billingd verify` can tell. The operators are those that can't
-- overflow, whatever a register says.
-- name: checksum
sum(mod(step.active_import_total_wh # (step.active_import_t1_wh << 7) # (step.active_import_t2_wh << 13)
    # (step.active_export_total_wh << 19) # (step.reactive_import_total_varh << 29)
    # (step.reactive_export_total_varh << 37), 2147483647)
    * mod(step.active_import_t1_wh # step.reactive_import_total_varh, 65521))::bigint

-- A segment's readings. No reading of the batch lies outside least_at and most_at: this is known when the query is
-- planned, so it touches no other month's partition. The registers of a protocol stand for the reading at that instant.
-- name: read
SELECT at, {REGISTERS} FROM readings
WHERE meter_id = ml.meter_id AND at BETWEEN ml.starts_at AND ml.ends_at
    AND at BETWEEN CAST(:least_at AS timestamptz) AND CAST(:most_at AS timestamptz)
    AND (ml.opening IS NULL OR at > ml.starts_at) AND (ml.closing IS NULL OR at < ml.ends_at)
UNION ALL SELECT ml.starts_at, {OPENING} WHERE ml.opening IS NOT NULL
UNION ALL SELECT ml.ends_at, {CLOSING} WHERE ml.closing IS NOT NULL

-- One number for the step of T1 and its quarter hour in the segment, of which the highest is the first highest step.
-- name: peak
least(greatest(step.active_import_t1_wh - step.before_active_import_t1_wh, 0), 1099511627776) * 4096
    + 4095 - (date_part('epoch', step.at - ml.starts_at) / 900)::bigint

-- One pass over them in the order of the primary key: no sort.
-- name: steps
SELECT
    count(*) FILTER (WHERE step.exact) AS quarter_hour_pairs, {checksum} AS readings_checksum,
    max(step.active_import_t1_wh - step.before_active_import_t1_wh) FILTER (WHERE step.exact) AS max_t1_step_wh,
    max(step.active_import_total_wh - step.before_active_import_total_wh) FILTER (WHERE step.exact) AS max_step_wh,
    4095 - mod(max({peak}) FILTER (WHERE step.exact), 4096) AS peak_quarter_hour,
    min(step.before_at) FILTER (WHERE NOT step.exact) AS first_gap_after,
    min(step.at) FILTER (
        WHERE {ANY_FALLS}
    ) AS first_fall_at
FROM (
    SELECT *, at - before_at = interval '15 minutes' AS exact FROM (
        SELECT at, {REGISTERS}, lag(at) OVER in_time AS before_at,
            {REGISTERS_BEFORE}
        FROM ({read}) AS stood
        WINDOW in_time AS (ORDER BY at)
    ) AS paired
) AS step

-- Of each wanted invoice one row a segment, with the master data, prices and readings that it rests on.
-- name: inputs
SELECT wanted.place, u.title AS network_user_title, u.legal_person AS network_user_legal_person,
    u.altibiz_sub_project_code, wanted.period BETWEEN u.billed_from AND coalesce(u.billed_until, '9999') AS asked_for,
    l.id AS location_id, l.title AS location_title,
    l.legal_person AS location_legal_person, l.regulatory_catalogue,
    rc.valid_from AS regulatory_valid_from, rc.tax_rate_percent,
    {REGULATORY_PRICES},
    ml.*, m.version AS meter_version, m.connection_power_w, billed.invoice_id AS billed_by,
    nc.valid_from, nc.kind,
    {NETWORK_USER_PRICES},
    {AT_START} AS at_start, {AT_END} AS at_end,
    steps.*, ml.starts_at + steps.peak_quarter_hour * interval '15 minutes' AS max_t1_step_at,
    repeated.repeated_before_peak, past.usual_energy_kwh, {FALLEN_REGISTERS} AS fallen, {BEFORE_REGISTERS} AS before_fall
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
LEFT JOIN LATERAL (
    SELECT p.id AS measurement_location_id, p.title AS measurement_location_title,
        catalogue_in(p, wanted.period) AS catalogue,
        coalesce(p.gaps, 'refuse') = 'refuse' AS refuses_gaps, a.meter_id,
        greatest(a.starts_at, wanted.starts_at) AS starts_at, least(a.ends_at, wanted.ends_at) AS ends_at,
        CASE WHEN a.starts_at >= wanted.starts_at THEN a.opening END AS opening,
        CASE WHEN a.ends_at <= wanted.ends_at THEN a.closing END AS closing,
        CASE WHEN a.gap_since IS NOT NULL THEN greatest(a.gap_since, wanted.starts_at) END AS gap_since,
        CASE WHEN a.gap_until IS NOT NULL THEN least(a.gap_until, wanted.ends_at) END AS gap_until,
        a.user_ends_at >= wanted.ends_at AS has_it_at_end
    FROM meter_assignments a JOIN measurement_locations p ON p.id = a.measurement_location
    WHERE a.network_user = u.id AND a.starts_at < wanted.ends_at AND a.ends_at > wanted.starts_at
) AS ml ON true
LEFT JOIN meters m ON m.id = ml.meter_id
LEFT JOIN LATERAL (
    SELECT b.invoice_id FROM billed_spans b WHERE b.meter_id = ml.meter_id
        AND b.starts_at < ml.ends_at AND b.ends_at > ml.starts_at
        AND (b.network_user_id, b.period) <> (wanted.network_user_id, wanted.period)
    ORDER BY b.starts_at, b.invoice_id LIMIT 1
) AS billed ON true
LEFT JOIN LATERAL (
    SELECT * FROM network_user_catalogues c WHERE c.id = ml.catalogue
        AND c.valid_from <= wanted.period ORDER BY c.valid_from DESC LIMIT 1
) AS nc ON true
LEFT JOIN readings first ON first.meter_id = ml.meter_id AND first.at = ml.starts_at
    AND first.at BETWEEN CAST(:least_at AS timestamptz) AND CAST(:most_at AS timestamptz)
LEFT JOIN readings last ON last.meter_id = ml.meter_id AND last.at = ml.ends_at
    AND last.at BETWEEN CAST(:least_at AS timestamptz) AND CAST(:most_at AS timestamptz)
LEFT JOIN LATERAL ({steps}) AS steps ON true
LEFT JOIN LATERAL (
    SELECT count(*) = 2 AND count(DISTINCT ({REGISTERS})) = 1 AS repeated_before_peak FROM readings r
    WHERE r.meter_id = ml.meter_id AND r.at >= ml.starts_at AND r.at IN (
        ml.starts_at + (steps.peak_quarter_hour - 1) * interval '15 minutes',
        ml.starts_at + (steps.peak_quarter_hour - 2) * interval '15 minutes'
    ) AND r.at BETWEEN CAST(:least_at AS timestamptz) AND CAST(:most_at AS timestamptz)
) AS repeated ON true
LEFT JOIN LATERAL (
    SELECT avg(month.energy_kwh) AS usual_energy_kwh FROM (
        SELECT DISTINCT ON (p.period) p.energy_kwh FROM invoices p WHERE p.network_user_id = u.id
            AND p.period < wanted.period AND p.state <> '{ABORTED}' AND p.energy_kwh IS NOT NULL
        ORDER BY p.period DESC, p.revision DESC LIMIT {USUAL_MONTHS}
    ) AS month
) AS past ON true
LEFT JOIN LATERAL (SELECT * FROM ({read}) AS r WHERE r.at = steps.first_fall_at LIMIT 1) AS fallen ON true
LEFT JOIN LATERAL (
    SELECT * FROM ({read}) AS r WHERE r.at < steps.first_fall_at ORDER BY r.at DESC LIMIT 1
) AS before ON true
ORDER BY wanted.place, ml.measurement_location_id, ml.starts_at
