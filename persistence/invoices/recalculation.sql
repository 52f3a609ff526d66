-- name: take
DELETE FROM recalculation_requests WHERE id IN (
    SELECT id FROM recalculation_requests ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
) RETURNING meter_id, invoice_id

-- name: concerned
SELECT id FROM invoices WHERE {HAS_OLD_DATA} AND (
    :all OR id = ANY(CAST(:invoices AS text[]))
    OR network_user_id IN (
        SELECT network_user FROM meter_assignments WHERE meter_id = ANY(CAST(:meters AS text[])))
) ORDER BY claimed_by IS NULL, id

-- A raised claim refuses what is being calculated from the data of before.
-- name: release
UPDATE invoices SET claim = claim + (claimed_by IS NOT NULL)::int,
    next_attempt_at = CASE WHEN held_code = ANY(CAST(:codes AS text[])) THEN NULL ELSE next_attempt_at END
WHERE {HAS_OLD_DATA} AND id = ANY(CAST(:ids AS text[]))

-- name: waiting
SELECT count(*) FROM invoices WHERE state = 'due' AND held_code = ANY(CAST(:codes AS text[]))
    AND next_attempt_at IS NOT NULL AND network_user_id IN (
        SELECT network_user FROM meter_assignments WHERE meter_id = ANY(CAST(:meters AS text[])))

-- name: request_meters
INSERT INTO recalculation_requests (meter_id) SELECT unnest(CAST(:meters AS text[]))

-- name: request_invoices
INSERT INTO recalculation_requests (invoice_id) SELECT unnest(CAST(:ids AS text[]))
