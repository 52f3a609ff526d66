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

-- name: count_refused
UPDATE invoices i SET refused_since = coalesce(refused_since, clock_timestamp())
FROM unnest(CAST(:ids AS text[]), CAST(:claims AS bigint[])) AS r(id, claim)
WHERE i.id = r.id AND i.claim = r.claim AND i.claimed_by = :by AND {OPEN}

-- name: count_incorrect
UPDATE invoices i SET incorrect_since = coalesce(incorrect_since, clock_timestamp()), incorrect_count = incorrect_count + 1
FROM unnest(CAST(:ids AS text[]), CAST(:claims AS bigint[])) AS r(id, claim)
WHERE i.id = r.id AND i.claim = r.claim AND i.claimed_by = :by AND {OPEN}

-- Each of these begins a search for a witness, and its `at` is when it passed: by the method of a request, or by what the
-- claim is for.
-- name: booked
SELECT FROM (SELECT *, last_at AS at FROM erp_exchanges) AS e WHERE outcome = 'booked' AND instance = :instance

-- name: passed_PUT
{booked} AND method = 'PUT'

-- name: passed_GET
{booked} AND method = 'GET'

-- name: passed_delivery
{booked} AND method IN ('PUT', 'GET')

-- name: passed_calculation
SELECT FROM invoice_history WHERE from_state = '{DUE}' AND to_state = '{CALCULATED}'
    AND substring(actor FROM '^(.*)#[^#]*$') = :instance
