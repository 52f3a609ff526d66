-- The last reading is the end of the primary key: one look a meter and month, whatever the number of readings.
-- name: silent
SELECT m.id, last.at AS last_at FROM meters m
JOIN jsonb_each_text(CAST(:expected AS jsonb)) AS e (kind, seconds) ON e.kind = m.kind
LEFT JOIN LATERAL (SELECT at FROM readings r WHERE r.meter_id = m.id ORDER BY at DESC LIMIT 1) AS last ON true
WHERE EXISTS (SELECT FROM meter_assignments a JOIN network_users u ON u.id = a.network_user
              WHERE a.meter_id = m.id AND CAST(:now AS timestamptz) BETWEEN a.starts_at AND a.ends_at
                  AND (u.billed_until IS NULL OR u.billed_until >= :month))
    AND (last.at IS NULL OR last.at < CAST(:now AS timestamptz) - CAST(e.seconds AS float8) * interval '1 second')
ORDER BY last.at NULLS FIRST, m.id
