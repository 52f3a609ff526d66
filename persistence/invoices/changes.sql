-- name: input
SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(
    id text, claim bigint, reason text, to_state text, bill_id text, abort_reason text,
    held_code text, held_reason text, outcome text, delay_seconds float8, failures int,
    polls int, given_back boolean, passed boolean, alone boolean)

-- Assignments to the invoice `i`, locked as `l`, from the change `r`.
-- name: sets
bill_id = r.bill_id, abort_reason = r.abort_reason,
ended_by = CASE WHEN r.to_state = '{ABORTED}' THEN 'erp' END,
held_code = r.held_code, held_reason = r.held_reason,
held_from = CASE WHEN r.to_state = '{HELD}' THEN l.from_state END,
last_outcome = coalesce(r.outcome, i.last_outcome),
next_attempt_at = now() + make_interval(secs => r.delay_seconds),
failures = r.failures, polls = r.polls, attempts = i.attempts - r.given_back::int,
refused_since = CASE WHEN NOT r.passed THEN i.refused_since END,
incorrect_count = CASE WHEN r.passed THEN 0 ELSE i.incorrect_count END,
incorrect_since = CASE WHEN NOT r.passed THEN i.incorrect_since END,
crash_count = CASE WHEN r.passed THEN 0 ELSE i.crash_count END,
crash_since = CASE WHEN NOT r.passed THEN i.crash_since END,
unclean_ends = CASE WHEN r.passed THEN 0 ELSE i.unclean_ends END,
batch_limit = CASE WHEN r.alone THEN 1 WHEN NOT r.passed THEN i.batch_limit END, {END_CLAIM}

-- name: end_stale
UPDATE invoices i SET {END_CLAIM}, next_attempt_at = NULL
FROM unnest(CAST(:ids AS text[]), CAST(:claims AS bigint[])) AS r(id, claim)
WHERE i.id = r.id AND i.claim = r.claim AND i.claimed_by = :by AND {IS_DUE}
