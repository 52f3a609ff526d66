-- name: missing
SELECT u.id || '.' || p.period || '.1' AS id, u.id AS network_user_id, p.period
FROM network_users u CROSS JOIN unnest(CAST(:periods AS text[])) AS p(period)
WHERE p.period >= u.billed_from AND (u.billed_until IS NULL OR p.period <= u.billed_until)
AND (CAST(:users AS text[]) IS NULL OR u.id = ANY(CAST(:users AS text[])))
AND EXISTS (SELECT FROM measurement_locations m WHERE m.network_user = u.id)
AND NOT EXISTS (SELECT FROM invoices i
                WHERE i.network_user_id = u.id AND i.period = p.period AND i.revision = 1)
AND u.id || '.' || p.period || '.1' <> ALL(CAST(:left_out AS text[]))
AND (CAST(:only AS text[]) IS NULL OR u.id || '.' || p.period || '.1' = ANY(CAST(:only AS text[])))
ORDER BY p.period, u.id

-- name: not_billed
SELECT u.id, CASE WHEN :period < u.billed_from THEN 'is billed from ' || u.billed_from
        WHEN :period > u.billed_until THEN 'is billed until ' || u.billed_until
        ELSE 'has no measurement location' END AS reason
    FROM network_users u WHERE u.id = ANY(CAST(:users AS text[]))
    AND NOT EXISTS (SELECT FROM invoices i WHERE i.network_user_id = u.id AND i.period = :period)
    ORDER BY u.id

-- name: unknown_users
SELECT u FROM unnest(CAST(:users AS text[])) AS u WHERE NOT EXISTS (SELECT FROM network_users n WHERE n.id = u)

-- name: existing
SELECT count(*) FROM invoices WHERE period = :period AND revision = 1
    AND (CAST(:users AS text[]) IS NULL OR network_user_id = ANY(CAST(:users AS text[])))
