-- name: groups
WITH concerned AS (
    SELECT period, id, held_code AS code, held_reason AS reason FROM invoices WHERE {IS_HELD}
    UNION ALL
    SELECT period, id, held_code, held_reason FROM invoices
    WHERE {IS_DUE} AND held_code IS NOT NULL
        AND (held_code NOT IN ('readings_incomplete', 'readings_inconsistent')
            OR CAST(:now AS timestamptz) >= make_interval(secs => :grace)
                + CAST((period || '-01')::date + interval '1 month' AS timestamp) AT TIME ZONE :time_zone)
    UNION ALL
    SELECT period, id, 'invoice_overdue', 'in ' || state FROM invoices
    WHERE {WORKING} AND held_code IS NULL
        AND updated_at < now() - make_interval(secs => :overdue) AND id <> ALL(string_to_array(:known, ','))
    UNION ALL
    SELECT a.period, a.id, 'invoice_aborted', a.abort_reason FROM invoices a
    WHERE {IS_ABORTED} AND a.ended_by = 'erp'
        AND NOT EXISTS (SELECT FROM invoices later WHERE later.network_user_id = a.network_user_id
            AND later.period = a.period AND later.revision > a.revision)
        AND NOT EXISTS (SELECT FROM alarms k WHERE k.code = 'invoice_aborted' AND k.key = a.period
            AND k.acked_at >= a.updated_at)
    UNION ALL
    SELECT '{PAUSED_KEY}', '{PAUSED_KEY}', 'delivery_paused', 'until '
        || to_char(until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || 'Z by ' || by || ': ' || reason
    FROM delivery_pauses WHERE resumed_at IS NULL AND until > now()
)
SELECT c.code, c.key, min(c.period) AS oldest, max(c.period) AS newest, count(*) AS count,
    trim_array(array_agg(c.id ORDER BY c.id), greatest(count(*)::int - {EXAMPLES}, 0)) AS ids,
    mode() WITHIN GROUP (ORDER BY c.reason) AS reason, count(DISTINCT c.reason) AS reasons,
    s.id AS standing_id, s.raised_at AS standing_since
FROM (SELECT *, CASE WHEN code IN ({DATA_CODES}) THEN '{DATA_KEY}' ELSE period END AS key FROM concerned) AS c
LEFT JOIN alarms s ON s.code = c.code AND s.key = c.key AND s.cleared_at IS NULL
GROUP BY c.code, c.key, s.id, s.raised_at ORDER BY min(c.period), c.code

-- name: standing
SELECT a.* FROM alarms a WHERE a.cleared_at IS NULL AND (a.instance = :instance OR (
    a.code = ANY(CAST(:codes AS text[])) AND a.key <> a.instance AND NOT EXISTS (
        SELECT FROM instances i WHERE i.name = a.instance AND i.seen_at >= now() - make_interval(secs => :gone))))

-- name: statistics
SELECT code, count(*) AS alarms, sum(coalesce((context ->> 'reopened')::int, 0)) AS reopened,
        count(*) FILTER (WHERE cleared_at IS NULL) AS standing,
        sum(extract(epoch FROM coalesce(cleared_at, now()) - raised_at))::float8 AS standing_seconds,
        max(extract(epoch FROM coalesce(cleared_at, now()) - raised_at))::float8 AS longest_seconds
    FROM alarms WHERE coalesce(cleared_at, now()) >= now() - make_interval(secs => :seconds)
    GROUP BY code ORDER BY alarms DESC, code

-- name: store
INSERT INTO alarms
        (id, code, key, severity, summary, count, raised_at, last_at, cleared_at, instance, context)
    VALUES (:id, :code, :key, :severity, :summary, :count, CAST(:raised_at AS timestamptz),
        CAST(:last_at AS timestamptz), CAST(:cleared_at AS timestamptz), :instance, CAST(:context AS jsonb))
    ON CONFLICT (id) DO UPDATE SET severity = excluded.severity, summary = excluded.summary,
        count = excluded.count, last_at = greatest(alarms.last_at, excluded.last_at),
        cleared_at = excluded.cleared_at, context = excluded.context,
        (acked_at, acked_by, ack_reason) = (SELECT a.acked_at, a.acked_by, a.ack_reason FROM alarms a
            WHERE a.id = excluded.id AND (a.cleared_at IS NULL OR excluded.cleared_at IS NOT NULL))
    RETURNING acked_at

-- name: acknowledge
UPDATE alarms SET
    acked_at = CASE WHEN code = 'invoice_aborted' THEN clock_timestamp()
                    ELSE coalesce(acked_at, clock_timestamp()) END,
    acked_by = coalesce(acked_by, :who), ack_reason = coalesce(ack_reason, :reason) WHERE id = :id

-- name: final
SELECT id FROM invoices WHERE id = ANY(string_to_array(:known, ',')) AND NOT {WORKING}

-- name: find
SELECT * FROM alarms WHERE cleared_at IS NULL OR :cleared_too
ORDER BY cleared_at IS NOT NULL, array_position(ARRAY['critical', 'major', 'minor', 'warning'], severity),
    raised_at DESC, id

-- name: standing_one
SELECT id, raised_at, instance FROM alarms WHERE code = :code AND key = :key AND cleared_at IS NULL FOR UPDATE

-- name: sweep
UPDATE alarms SET cleared_at = now() WHERE cleared_at IS NULL AND key = instance
    AND instance <> :instance AND last_at < now() - interval '1 day'
    AND NOT EXISTS (SELECT FROM instances i WHERE i.name = alarms.instance AND i.seen_at >= now() - interval '1 day')
