-- Which due periods have nothing open and other counts than were told: few to sum up, cheap to find.
-- name: close
WITH counted AS (
    SELECT period, count(*) FILTER (WHERE state = 'registered') AS registered,
        count(*) FILTER (WHERE state = 'aborted') AS aborted, count(*) AS number
    FROM invoices WHERE period = ANY(CAST(:periods AS text[])) AND {NOT_TAKEN_BACK} GROUP BY period
), over AS (
    SELECT c.* FROM counted c LEFT JOIN period_closings p USING (period)
    WHERE c.number = c.registered + c.aborted
        AND (p.registered, p.aborted) IS DISTINCT FROM (c.registered, c.aborted)
        AND NOT EXISTS (
            SELECT FROM (SELECT id AS network_user_id, c.period FROM network_users) AS of WHERE {ASKED_FOR}
                AND NOT EXISTS (SELECT FROM invoices i
                    WHERE i.network_user_id = of.network_user_id AND i.period = of.period AND {NOT_TAKEN_BACK}))
)
INSERT INTO period_closings AS known
    (period, registered, aborted, total_eur, tax_eur, total_with_tax_eur)
SELECT o.period, o.registered, o.aborted, coalesce(sum(i.total_eur), 0), coalesce(sum(i.tax_eur), 0),
    coalesce(sum(i.total_with_tax_eur), 0)
FROM over o LEFT JOIN invoices i ON i.period = o.period AND i.state = 'registered'
GROUP BY o.period, o.registered, o.aborted
ON CONFLICT (period) DO UPDATE SET closed_at = excluded.closed_at, told_at = NULL,
    registered = excluded.registered, aborted = excluded.aborted, total_eur = excluded.total_eur,
    tax_eur = excluded.tax_eur, total_with_tax_eur = excluded.total_with_tax_eur
WHERE (known.registered, known.aborted) IS DISTINCT FROM (excluded.registered, excluded.aborted)

-- name: columns
period, closed_at, registered, aborted, total_eur, tax_eur, total_with_tax_eur

-- name: take_untold
UPDATE period_closings SET told_at = clock_timestamp() WHERE period IN (
    SELECT period FROM period_closings WHERE told_at IS NULL ORDER BY period FOR UPDATE SKIP LOCKED
) RETURNING {columns}

-- name: last_closings
SELECT {columns} FROM period_closings ORDER BY period DESC LIMIT :limit
