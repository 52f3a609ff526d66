-- name: in_hand
SELECT id, claim, claimed_for, crash_count, failures, polls,
    coalesce(crash_since, clock_timestamp() - make_interval(secs => :ago)) AS since
FROM invoices WHERE id = ANY(CAST(:ids AS text[])) AND claimed_by = :by AND {WORKING} FOR UPDATE

-- name: limit_batch
UPDATE invoices SET batch_limit = :limit, {END_CLAIM},
    crash_since = coalesce(crash_since, clock_timestamp()),
    next_attempt_at = now() + make_interval(secs => :delay)
    WHERE id = ANY(CAST(:ids AS text[])) AND claimed_by = :by
    AND {WORKING}

-- name: crashing
SELECT id FROM invoices WHERE id = ANY(CAST(:ids AS text[])) AND crash_count >= :most AND {WORKING} ORDER BY id
