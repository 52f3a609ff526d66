-- name: columns
id, network_user_id, period, revision, state, bill_id, abort_reason, held_code, held_reason, total_eur,
    tax_rate_percent, tax_eur, total_with_tax_eur, invoice_date, attempts, next_attempt_at, created_at, updated_at

-- The condition of a Filter, whose fields are its values.
-- name: wanted
(CAST(:period AS text) IS NULL OR period = :period)
    AND (CAST(:state AS text) IS NULL OR state = :state)
    AND (CAST(:network_user AS text) IS NULL OR network_user_id = :network_user)
    AND (CAST(:code AS text) IS NULL OR held_code = :code)

-- name: page
SELECT {columns} FROM invoices
WHERE id > :after AND starts_with(id, :beginning)
AND (CAST(:state AS text) IS NULL OR state = :state) AND (CAST(:period AS text) IS NULL OR period = :period)
ORDER BY id LIMIT :most

-- name: codes
SELECT held_code, count(*) AS number FROM invoices
WHERE state NOT IN ('registered', 'aborted') AND held_code IS NOT NULL AND {wanted}
GROUP BY 1 ORDER BY 2 DESC, 1

-- What ended in an hour is represented by the oldest of it: at an instant, the oldest of all that ended later was open.
-- name: hours
WITH slots AS (
    SELECT generate_series(date_trunc('hour', now()) - make_interval(hours => :hours - 1),
        date_trunc('hour', now()), interval '1 hour') AS start
), passed AS (
    SELECT date_trunc('hour', at) AS start,
        count(*) FILTER (WHERE to_state = 'calculated' AND from_state = 'due') AS calculated,
        count(*) FILTER (WHERE to_state = 'registered') AS registered,
        count(*) FILTER (WHERE to_state = 'held') AS held,
        count(*) FILTER (WHERE to_state = 'aborted') AS aborted
    FROM invoice_history
    WHERE to_state IN ('calculated', 'registered', 'held', 'aborted') AND from_state <> to_state
    AND at >= date_trunc('hour', now()) - make_interval(hours => :hours - 1) GROUP BY 1
), ended AS MATERIALIZED ( -- once, not for each slot
    SELECT date_trunc('hour', h.at) AS start, min(i.created_at) AS oldest
    FROM invoice_history h JOIN invoices i ON i.id = h.invoice_id
    WHERE h.to_state IN ('registered', 'aborted') AND h.from_state <> h.to_state
    AND h.at >= date_trunc('hour', now()) - make_interval(hours => :hours - 1) GROUP BY 1
    UNION ALL
    SELECT 'infinity', min(created_at) FROM invoices WHERE state NOT IN ('registered', 'aborted')
)
SELECT s.start, coalesce(p.calculated, 0) AS calculated, coalesce(p.registered, 0) AS registered,
    coalesce(p.held, 0) AS held, coalesce(p.aborted, 0) AS aborted,
    greatest(0, coalesce(extract(epoch FROM least(s.start + interval '1 hour', now())
        - (SELECT min(e.oldest) FROM ended e WHERE e.start > s.start)), 0))::float8 AS oldest_seconds
FROM slots s LEFT JOIN passed p USING (start) ORDER BY s.start

-- name: listed
SELECT {columns} FROM invoices WHERE {wanted} ORDER BY period, network_user_id, revision

-- name: these
SELECT {columns} FROM invoices WHERE id = ANY(CAST(:ids AS text[]))

-- name: documents
SELECT invoice_id, lines, calculations, snapshot, body FROM invoice_documents
WHERE invoice_id = ANY(CAST(:ids AS text[]))

-- name: history
SELECT invoice_id, at, from_state, to_state, actor, reason FROM invoice_history
WHERE invoice_id = ANY(CAST(:ids AS text[])) ORDER BY invoice_id, seq

-- name: exchanges
SELECT invoice_id, method, outcome, status, detail, first_at, last_at, times FROM erp_exchanges
WHERE invoice_id = ANY(CAST(:ids AS text[])) ORDER BY invoice_id, seq

-- The greatest width of each column of the table of invoices but the last; no row if there are no invoices.
-- name: widths
SELECT max(length(id)), max(length(state)), coalesce(length(CAST(max(total_with_tax_eur) AS text)), 0),
    coalesce(max(length(bill_id)), 0), 20 * CAST(count(next_attempt_at) > 0 AS int)
FROM invoices WHERE {wanted} HAVING count(*) > 0

-- `format` alone takes as long as one of its cells would by a function of its own.
-- name: drawn
SELECT string_agg(format(:line, id, state, coalesce(CAST(total_with_tax_eur AS text), '-'),
    coalesce(translate(bill_id, E'\n\r\t', '   '), '-'),
    coalesce(to_char(next_attempt_at, 'YYYY-MM-DD HH24:MI:SS"Z"'), '-'),
    CASE WHEN held_code IS NULL AND abort_reason IS NULL THEN '-'
        ELSE translate(coalesce(held_code || ': ' || held_reason, nullif(abort_reason, ''), '-'), E'\n\r\t', '   ') END
), E'\n')
FROM (SELECT * FROM invoices WHERE {wanted} ORDER BY period, network_user_id, revision) AS listed
