-- name: claim_as_it_is
UPDATE invoices i SET claim = {NEXT_CLAIM}, claimed_by = :by, claimed_until = {LEASE},
    claimed_for = CASE WHEN {IS_DUE} THEN 'calculation' ELSE 'delivery' END
    WHERE id = :id AND {WORKING}
    AND (claimed_by = :by OR claimed_until IS NULL OR claimed_until <= now())
