-- name: keep_exchanges
WITH input AS (
    SELECT r.*, l.seq, l.method = r.method AND l.outcome = r.outcome
        AND l.status IS NOT DISTINCT FROM r.status AS again
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(
        invoice_id text, method text, outcome text, status int, detail text)
    LEFT JOIN LATERAL (SELECT * FROM erp_exchanges e WHERE e.invoice_id = r.invoice_id
                       ORDER BY seq DESC LIMIT 1) l ON true
), counted AS (
    UPDATE erp_exchanges e SET times = e.times + 1, last_at = clock_timestamp(), detail = r.detail,
        instance = :instance
    FROM input r WHERE r.again AND e.invoice_id = r.invoice_id AND e.seq = r.seq
)
INSERT INTO erp_exchanges (invoice_id, seq, method, outcome, status, detail, instance)
SELECT invoice_id, coalesce(seq, 0) + 1, method, outcome, status, detail, :instance
FROM input WHERE again IS NOT TRUE
