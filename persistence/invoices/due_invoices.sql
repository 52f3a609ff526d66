-- name: missing
SELECT of.network_user_id || '.' || of.period || '.' || of.revision AS id, of.*
FROM (
    SELECT u.id AS network_user_id, p.period, 1 + coalesce((SELECT max(revision) FROM invoices i
        WHERE i.network_user_id = u.id AND i.period = p.period), 0) AS revision
    FROM network_users u CROSS JOIN unnest(CAST(:periods AS text[])) AS p(period)
    WHERE p.period >= u.billed_from AND (CAST(:users AS text[]) IS NULL OR u.id = ANY(CAST(:users AS text[])))
    AND NOT EXISTS (SELECT FROM invoices i
        WHERE i.network_user_id = u.id AND i.period = p.period AND {NOT_TAKEN_BACK})
) AS of
WHERE {ASKED_FOR}
AND of.network_user_id || '.' || of.period || '.' || of.revision <> ALL(CAST(:left_out AS text[]))
AND (CAST(:only AS text[]) IS NULL
    OR of.network_user_id || '.' || of.period || '.' || of.revision = ANY(CAST(:only AS text[])))
ORDER BY of.period, of.network_user_id LIMIT CAST(:at_most AS bigint)

-- name: not_billed
SELECT u.id, CASE WHEN :period < u.billed_from THEN 'is billed from ' || u.billed_from
        WHEN :period > u.billed_until THEN 'is billed until ' || u.billed_until
        ELSE 'has no measurement location' END AS reason
    FROM network_users u WHERE u.id = ANY(CAST(:users AS text[]))
    AND NOT EXISTS (SELECT FROM invoices i
        WHERE i.network_user_id = u.id AND i.period = :period AND {NOT_TAKEN_BACK})
    ORDER BY u.id

-- name: unknown_users
SELECT u FROM unnest(CAST(:users AS text[])) AS u WHERE NOT EXISTS (SELECT FROM network_users n WHERE n.id = u)

-- name: existing
SELECT count(DISTINCT network_user_id) FROM invoices WHERE period = :period AND {NOT_TAKEN_BACK}
    AND (CAST(:users AS text[]) IS NULL OR network_user_id = ANY(CAST(:users AS text[])))

-- name: not_asked_for
SELECT of.id FROM invoices of WHERE (of.state = '{DUE}' OR of.held_from = '{DUE}') AND NOT {ASKED_FOR} ORDER BY of.id

-- name: taken_back_since
'master data no longer asks for it'

-- Assignments to the invoice `i`.
-- name: take_back
abort_reason = {taken_back_since}, ended_by = 'master data', held_code = NULL, held_reason = NULL, held_from = NULL,
next_attempt_at = NULL, batch_limit = NULL, claim = i.claim + 1, {END_CLAIM}
