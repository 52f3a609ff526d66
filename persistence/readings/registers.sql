-- name: measured
SELECT {AT_START} AS at_start, {AT_END} AS at_end, steps.*
FROM (
    SELECT meter_id, starts_at, ends_at, place,
        string_to_array(opening, ' ')::bigint[] AS opening, string_to_array(closing, ' ')::bigint[] AS closing
    FROM unnest(CAST(:meters AS text[]), CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]),
        CAST(:openings AS text[]), CAST(:closings AS text[]))
        WITH ORDINALITY AS wanted (meter_id, starts_at, ends_at, opening, closing, place)
) AS ml
LEFT JOIN readings first ON first.meter_id = ml.meter_id AND first.at = ml.starts_at
LEFT JOIN readings last ON last.meter_id = ml.meter_id AND last.at = ml.ends_at
LEFT JOIN LATERAL ({STEPS}) AS steps ON true
ORDER BY ml.place

-- Under its name `readings` the statement above reads the values of then: of each reading the oldest
-- replaced since; those that have come since are left out.
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
    WHERE k.meter_id IS NULL OR k.active_import_total_wh IS NOT NULL
)
{measured}
