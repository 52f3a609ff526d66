-- Beside a row: whether somebody has it in hand, and for how long an offer of it may still be under way.
-- name: with_its_wait
SELECT *, claimed_until > now() AS claimed, least(:offer, greatest(0, extract(epoch FROM
    last_attempt_at + make_interval(secs => :offer) - clock_timestamp())))::float8 AS wait
FROM invoices WHERE id = :id

-- name: claim
UPDATE invoices SET claim = :claim, claimed_by = :by, claimed_for = 'delivery',
    claimed_until = now() + make_interval(secs => :lease) WHERE id = :id

-- name: put_down
UPDATE invoices SET {END_CLAIM} WHERE id = :id AND claim = :claim AND claimed_by = :by

-- name: meters
SELECT DISTINCT meter_id FROM meter_assignments WHERE network_user = :user

-- name: later
SELECT id FROM invoices WHERE network_user_id = :user AND period = :period AND revision > :revision
ORDER BY revision DESC LIMIT 1

-- Assignments to the invoice.
-- name: abort
abort_reason = :abort_reason, ended_by = :ended_by, held_code = NULL, held_reason = NULL, held_from = NULL,
next_attempt_at = NULL, batch_limit = NULL, {END_CLAIM}
