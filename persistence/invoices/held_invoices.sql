-- Assignments to the invoice; of a last outcome only those are kept after which the ERP surely has nothing.
-- name: retry
held_from = NULL, held_code = NULL, held_reason = NULL, next_attempt_at = NULL, failures = 0,
refused_since = NULL, incorrect_count = 0, incorrect_since = NULL, crash_count = 0, crash_since = NULL,
unclean_ends = 0, batch_limit = NULL,
last_outcome = CASE WHEN last_outcome IN ('refused', 'not_sent', 'absent') THEN last_outcome END

-- name: held
SELECT id FROM invoices WHERE {IS_HELD} AND (CAST(:code AS text) IS NULL OR held_code = :code)
    AND (CAST(:period AS text) IS NULL OR period = :period) ORDER BY id
