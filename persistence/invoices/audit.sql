-- name: chains
SELECT invoice_id, 'history' AS kind, min(what) AS what FROM (
    SELECT (h).invoice_id, CASE
        WHEN (h).seq <> place THEN 'a step of its history is missing before step ' || (h).seq
        WHEN (h).from_state IS DISTINCT FROM before_state THEN
            'step ' || (h).seq || ' of its history does not begin where the one before ended'
        WHEN (h).hash IS DISTINCT FROM history_hash(before_hash, h) THEN
            'step ' || (h).seq || ' of its history was changed or has changed its place'
    END AS what
    FROM (
        SELECT h, lag(hash) OVER steps AS before_hash, lag(to_state) OVER steps AS before_state,
            row_number() OVER steps AS place
        FROM invoice_history h WHERE CAST(:period AS text) IS NULL OR split_part(invoice_id, '.', 2) = :period
        WINDOW steps AS (PARTITION BY invoice_id ORDER BY seq)
    ) AS linked
) AS judged WHERE what IS NOT NULL GROUP BY invoice_id
UNION ALL
SELECT i.id, 'history', CASE WHEN last.seq IS DISTINCT FROM i.history_length
    THEN 'its history has ' || coalesce(last.seq, 0) || ' steps instead of ' || i.history_length
    ELSE 'it is ' || i.state || ', and by its history ' || last.to_state END
FROM invoices i LEFT JOIN LATERAL (
    SELECT seq, to_state FROM invoice_history h WHERE h.invoice_id = i.id ORDER BY seq DESC LIMIT 1
) AS last ON true
WHERE (CAST(:period AS text) IS NULL OR i.period = :period)
    AND (last.seq IS DISTINCT FROM i.history_length OR last.to_state IS DISTINCT FROM i.state)
UNION ALL
SELECT i.id, 'document', CASE WHEN d.invoice_id IS NULL THEN 'its document is missing'
    ELSE 'its document (lines, calculations, snapshot or body) was changed' END
FROM invoices i LEFT JOIN invoice_documents d ON d.invoice_id = i.id
WHERE (CAST(:period AS text) IS NULL OR i.period = :period) AND CASE WHEN d.invoice_id IS NULL
    THEN i.total_eur IS NOT NULL ELSE d.hash IS DISTINCT FROM document_hash(d) END
ORDER BY 1, 2

-- What a root covers: of each invoice the last hash of its chain, and its document's hash once it is calculated.
-- name: root
SELECT count(*) AS invoices, encode(sha256(coalesce(CAST(:before AS bytea), '')
    || coalesce(string_agg(sha256(head || document), '' ORDER BY invoice_id COLLATE "C"), '')), 'hex') AS root
FROM (
    SELECT h.invoice_id, (array_agg(h.hash ORDER BY h.seq DESC))[1] AS head,
        CASE WHEN bool_or(h.to_state = 'calculated')
            THEN coalesce((SELECT hash FROM invoice_documents d WHERE d.invoice_id = h.invoice_id), '')
            ELSE '' END AS document
    FROM invoice_history h WHERE h.position <= :position GROUP BY h.invoice_id
) AS heads

-- One row, also if there is no root yet: then `ordinal` is 0, and the rest is NULL.
-- name: last_root
SELECT coalesce(r.ordinal, 0) AS ordinal, r.day, r.position, r.invoices, r.root, r.at
FROM (SELECT max(ordinal) AS ordinal FROM audit_roots) AS last LEFT JOIN audit_roots r USING (ordinal)

-- name: store_root
INSERT INTO audit_roots (ordinal, day, at, position, invoices, root)
VALUES (:ordinal, :day, clock_timestamp(), :position, :invoices, decode(:root, 'hex'))
ON CONFLICT DO NOTHING RETURNING at

-- name: roots
SELECT day, at, position, invoices, root, lag(root) OVER made AS before,
    ordinal = coalesce(lag(ordinal) OVER made, 0) + 1 AS follows
FROM audit_roots WINDOW made AS (ORDER BY ordinal) ORDER BY ordinal

-- A daemon that calculates makes the root of its day within a minute, and of the next day if it goes on until then.
-- Yesterday and today may still come. What a clock that was ahead has dated in the future is not judged.
-- name: days_with_work_and_no_root
SELECT day FROM (
    SELECT DISTINCT (at AT TIME ZONE 'UTC')::date AS day FROM invoice_history WHERE to_state = 'calculated'
) AS worked
WHERE day < (now() AT TIME ZONE 'UTC')::date - 1
    AND NOT EXISTS (SELECT FROM audit_roots r WHERE r.day BETWEEN worked.day AND worked.day + 1)
ORDER BY day

-- name: stored_invoices
SELECT i.*, d.lines, d.calculations, d.snapshot, d.body, (
        SELECT min(at) FROM invoice_history h
        WHERE h.invoice_id = i.id AND h.to_state = 'calculated'
    ) AS calculated_at
    FROM invoices i JOIN invoice_documents d ON d.invoice_id = i.id
    WHERE (CAST(:period AS text) IS NULL OR i.period = :period) AND i.id COLLATE "C" > :after
    ORDER BY i.id COLLATE "C" LIMIT :limit

-- name: day_without_root
SELECT today FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock
WHERE NOT EXISTS (SELECT FROM audit_roots WHERE day = today)

-- name: replacements
SELECT at, replaced_at, replaced_by, reason FROM readings_replaced
WHERE meter_id = :meter AND at BETWEEN :start AND :end ORDER BY replaced_at, at
