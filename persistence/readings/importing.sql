-- The line numbers come from the order in which COPY fills the table; line 1 is the header.
-- name: stage
CREATE TEMPORARY TABLE staged_readings (
    line bigint GENERATED ALWAYS AS IDENTITY (START WITH 2), LIKE readings
) ON COMMIT DROP

-- name: survey
CREATE TEMPORARY TABLE staged_meters ON COMMIT DROP AS
SELECT meter_id, min(line) AS first_line, min(at) AS first_at, max(at) AS last_at,
    max(line) - min(line) = count(*) - 1 AS side_by_side,
    min(line) FILTER (
        WHERE active_import_total_wh <> active_import_t1_wh + active_import_t2_wh
    ) AS wrong_sum_line
FROM staged_readings GROUP BY meter_id

-- Whether all is right with what lies in a month's table, which new_month stands for: the rows of a meter lie side by side.
-- name: survey_month
WITH found AS (
    SELECT meter_id, min(ctid) AS first_place, max(ctid) AS last_place, min(at) AS first_at, max(at) AS last_at,
        bool_and(active_import_total_wh = active_import_t1_wh + active_import_t2_wh) AS sums_right
    FROM new_month GROUP BY meter_id
), ordered AS (
    SELECT *, first_place > coalesce(lag(last_place) OVER (ORDER BY first_place), '(0,0)') AS apart FROM found
)
SELECT string_agg(o.meter_id, ',') AS meters, min(o.first_at) AS first_at, max(o.last_at) AS last_at,
    bool_and(o.sums_right AND o.apart AND m.id IS NOT NULL) AS "right"
FROM ordered o LEFT JOIN meters m ON m.id = o.meter_id

-- What stands already where the file's rows belong: next to nothing for a new month, each meter's first instant.
-- name: known
CREATE TEMPORARY TABLE known_readings ON COMMIT DROP AS
SELECT k.* FROM staged_meters s CROSS JOIN LATERAL (
    SELECT {COLUMNS} FROM readings r WHERE r.meter_id = s.meter_id AND r.at BETWEEN s.first_at AND s.last_at
        AND r.at BETWEEN :first_at AND :last_at
    OFFSET 0
) k

-- What has come within the time of a computed invoice, which was computed without it. Rows of this transaction have the age 0,
-- or less if a savepoint wrote them. Rows of later transactions have less, too; those note them themselves, so it does no harm.
-- Live invoices have their times in billed_spans.
-- name: note_late
WITH computed AS (
    SELECT b.meter_id, b.starts_at, b.ends_at FROM billed_spans b WHERE b.meter_id = ANY(CAST(:meters AS text[]))
    UNION
    SELECT s.meter_id, s.starts_at, s.ends_at
    FROM invoices i JOIN invoice_documents d ON d.invoice_id = i.id CROSS JOIN spans_of(d) s
    WHERE i.period BETWEEN to_char(CAST(:first_at AS timestamptz) - interval '2 days', 'YYYY-MM')
            AND to_char(CAST(:last_at AS timestamptz) + interval '2 days', 'YYYY-MM')
        AND NOT EXISTS (SELECT FROM billed_spans b WHERE b.invoice_id = i.id)
        AND s.meter_id = ANY(CAST(:meters AS text[]))
)
INSERT INTO readings_replaced (meter_id, at, replaced_by, reason)
SELECT DISTINCT r.meter_id, r.at, CAST(:who AS text), 'it came late'
FROM computed c JOIN readings r ON r.meter_id = c.meter_id AND r.at > c.starts_at AND r.at < c.ends_at
WHERE c.starts_at < :last_at AND c.ends_at > :first_at AND r.at BETWEEN :first_at AND :last_at
    AND age(r.xmin) <= 0 AND NOT EXISTS (
        SELECT FROM readings_replaced p
        WHERE p.meter_id = r.meter_id AND p.at = r.at AND p.replaced_at = transaction_timestamp())

-- name: computed_from_replaced
WITH replaced AS (
    SELECT meter_id, at FROM readings_replaced
    WHERE meter_id = ANY(CAST(:meters AS text[])) AND replaced_at = transaction_timestamp()
), months AS (SELECT min(at) - interval '2 days' AS first, max(at) + interval '2 days' AS last FROM replaced)
SELECT i.id FROM invoices i JOIN invoice_documents d ON d.invoice_id = i.id, months
WHERE i.period BETWEEN to_char(months.first, 'YYYY-MM') AND to_char(months.last, 'YYYY-MM')
    AND EXISTS (
        SELECT FROM spans_of(d) s JOIN replaced r USING (meter_id) WHERE r.at BETWEEN s.starts_at AND s.ends_at
    )
ORDER BY i.id

-- name: first_difference
SELECT s.line, s.meter_id, s.at,
    (SELECT min(o.line) FROM staged_readings o WHERE o.meter_id = s.meter_id AND o.at = s.at AND o.line <> s.line
        AND ({STAGED_VALUES}) IS DISTINCT FROM ({OTHER_VALUES})) AS other_line
FROM staged_readings s JOIN known_readings k USING (meter_id, at)
WHERE ({STAGED_VALUES}) IS DISTINCT FROM ({KNOWN_VALUES}) ORDER BY s.line LIMIT 1

-- name: replace
WITH changed AS (
    SELECT s.meter_id, s.at, {NEW_VALUES}, {KNOWN_VALUES}
    FROM staged_readings s JOIN known_readings k USING (meter_id, at)
    WHERE ({STAGED_VALUES}) IS DISTINCT FROM ({KNOWN_VALUES})
), kept AS (
    INSERT INTO readings_replaced ({COLUMNS}, replaced_by, reason)
    SELECT DISTINCT {COLUMNS}, CAST(:who AS text), CAST(:reason AS text) FROM changed
)
UPDATE readings r SET {SETS}
FROM changed c WHERE r.meter_id = c.meter_id AND r.at = c.at AND r.at BETWEEN :first_at AND :last_at
