-- name: claim_as_it_is
UPDATE invoices i SET claim = {NEXT_CLAIM}, claimed_by = :by, claimed_until = {LEASE},
    claimed_for = CASE WHEN {IS_DUE} THEN 'calculation' ELSE 'delivery' END
    WHERE id = :id AND {WORKING}
    AND (claimed_by = :by OR claimed_until IS NULL OR claimed_until <= now())

-- name: delivered
SELECT c.id, c.claim, CASE WHEN c.offer THEN 'offer' ELSE 'ask' END AS action, c.state,
    c.total_with_tax_eur, CASE WHEN c.offer THEN d.body END AS body, c.failures, c.polls, c.incorrect_count
FROM changed c JOIN invoice_documents d ON d.invoice_id = c.id

-- name: last_known
SELECT id FROM (SELECT DISTINCT ON (invoice_id) invoice_id AS id, to_state AS state
    FROM invoice_history ORDER BY invoice_id, seq DESC) AS last

-- name: its_claimer_is_dead
({INSTANCE} = :instance AND claimed_by <> :by) IS TRUE

-- name: touch
UPDATE invoices SET claimed_by = CASE WHEN NOT {its_claimer_is_dead} THEN claimed_by END,
    claimed_for = CASE WHEN NOT {its_claimer_is_dead} THEN claimed_for END,
    claimed_until = CASE WHEN NOT {its_claimer_is_dead} THEN claimed_until END
WHERE id = :id

-- name: several_open
SELECT count(*) > 1 FROM (SELECT FROM invoices WHERE {DELIVERABLE} AND {MAY_LEAVE} LIMIT 2) AS open_ones

-- name: waits_for_the_erp
{DELIVERABLE} AND failures > 0 AND claimed_by IS NULL
    AND incorrect_count = 0 AND refused_since IS NULL AND crash_count = 0 AND {LEFT_OUT}

-- name: waiting_for_the_erp
SELECT id FROM invoices WHERE {waits_for_the_erp} ORDER BY id

-- name: forget_waits_for_the_erp
UPDATE invoices i SET next_attempt_at = NULL, failures = 0
FROM (SELECT id FROM invoices WHERE {waits_for_the_erp}
        AND (CAST(:only AS text[]) IS NULL OR id = ANY(CAST(:only AS text[])))
      ORDER BY id FOR UPDATE SKIP LOCKED) AS picked
WHERE i.id = picked.id
