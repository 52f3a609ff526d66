-- name: measured
SELECT {FIRST_REGISTERS} AS at_start, {LAST_REGISTERS} AS at_end, steps.*
FROM unnest(CAST(:meters AS text[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
    WITH ORDINALITY AS wanted (meter_id, starts_at, ends_at, place)
CROSS JOIN LATERAL (SELECT wanted.meter_id) AS ml
LEFT JOIN readings first ON first.meter_id = ml.meter_id AND first.at = wanted.starts_at
LEFT JOIN readings last ON last.meter_id = ml.meter_id AND last.at = wanted.ends_at
LEFT JOIN LATERAL ({STEPS}) AS steps ON true
ORDER BY wanted.place

-- Under its name `readings` the statement above reads the values of then: of each reading the oldest replaced since.
-- name: measured_before
WITH readings AS (
    SELECT r.meter_id, r.at, {AS_THEY_STOOD}
    FROM unnest(CAST(:meters AS text[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
        AS span (meter_id, starts_at, ends_at)
    JOIN readings r ON r.meter_id = span.meter_id AND r.at BETWEEN span.starts_at AND span.ends_at
    LEFT JOIN LATERAL (
        SELECT * FROM readings_replaced p WHERE p.meter_id = r.meter_id AND p.at = r.at
            AND p.replaced_at >= CAST(:since AS timestamptz) ORDER BY p.replaced_at LIMIT 1
    ) AS k ON true
)
{measured}
