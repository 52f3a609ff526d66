-- What doesn't go on as it should: held, waiting for readings, or tried again after something went wrong.
-- name: stuck
WITH concerned AS (
    SELECT state, held_code AS code, period, id, held_reason AS reason, updated_at, NULL::timestamptz AS next_try
    FROM invoices WHERE state IN ('held', 'due') AND held_code IS NOT NULL
    UNION ALL
    SELECT state, NULL, period, id, NULL, updated_at, next_attempt_at
    FROM invoices WHERE state IN ('due', 'calculated', 'sent', 'initiated') AND held_code IS NULL
        AND (failures > 0 OR crash_count > 0 OR incorrect_count > 0)
), grouped AS (
    SELECT state, code, count(*) AS invoices, min(period) AS first_period, max(period) AS last_period,
        min(id) AS example, mode() WITHIN GROUP (ORDER BY reason) AS reason, count(DISTINCT reason) AS reasons,
        min(updated_at) AS since, min(next_try) AS next_attempt_at,
        extract(epoch FROM now() - min(updated_at))::float8 AS seconds
    FROM concerned GROUP BY state, code
)
SELECT g.state, g.code, g.invoices, g.first_period, g.last_period, g.example, g.since, g.seconds, g.next_attempt_at,
    coalesce(g.reason, x.said, i.crash_count || ' crashes of whoever worked on it') AS reason, g.reasons
FROM grouped g JOIN invoices i ON i.id = g.example LEFT JOIN LATERAL (
    SELECT e.method || ' ' || e.outcome || ': ' || e.detail AS said FROM erp_exchanges e
    WHERE e.invoice_id = g.example AND g.code IS NULL ORDER BY e.seq DESC LIMIT 1) x ON true
ORDER BY g.state <> 'held', g.invoices DESC, g.state, g.code

-- name: by_period
SELECT period, state, count(*) AS number FROM invoices GROUP BY period, state ORDER BY 1, 2

-- name: oldest
SELECT state, extract(epoch FROM now() - min(updated_at))::float8 AS seconds FROM invoices
WHERE {OPEN} GROUP BY state

-- name: unapproved
SELECT count(*) FROM invoices WHERE state = 'calculated' AND approved_at IS NULL AND (remarked OR :approval_required)

-- name: pace
SELECT count(*) FROM invoice_history
WHERE to_state = 'registered' AND from_state <> 'registered' AND at > now() - interval '1 minute'

-- name: pause
SELECT since, until, by, reason FROM delivery_pauses WHERE resumed_at IS NULL AND until > now()

-- name: last_seen
SELECT started_at, seen_at, ended_at, ended_how,
    ended_at IS NULL AND seen_at > now() - interval '15 seconds' AS alive
FROM instances WHERE name = :name

-- Work that anybody may take up has waited for so long, and no invoice of any daemon has moved meanwhile.
-- name: stalled
SELECT NOT EXISTS (SELECT FROM invoice_history WHERE to_state IN ({STATES}) AND at > now() - make_interval(secs => :seconds))
    AND EXISTS (SELECT FROM invoices WHERE {WORKING} AND held_code IS NULL
        AND greatest(coalesce(next_attempt_at, updated_at), claimed_until) <= now() - make_interval(secs => :seconds)
        AND ({IS_DUE} OR CAST(:may_deliver AS boolean) AND {MAY_LEAVE} AND NOT {PAUSED}))
