-- name: register
INSERT INTO instances (name, incarnation, version)
    VALUES (:name, CAST(:incarnation AS uuid), :version)
    ON CONFLICT (name) DO UPDATE SET
    incarnation = excluded.incarnation, version = excluded.version,
    started_at = now(), seen_at = now(), ended_at = NULL, ended_how = NULL,
    unclean_ends = CASE WHEN :clean THEN 0 ELSE instances.unclean_ends + 1 END

-- name: marked
SELECT id, ({INSTANCE} = :name) IS TRUE AS in_hand,
    unclean_ends + CAST(CAST(:unclean AS boolean) AS integer) AS unclean_ends FROM invoices
    WHERE (claimed_by IS NOT NULL AND {INSTANCE} = :name)
    OR (unclean_ends > 0 AND {OPEN}) ORDER BY id

-- name: free
UPDATE invoices i SET
    claimed_by = CASE WHEN NOT theirs THEN i.claimed_by END,
    claimed_for = CASE WHEN NOT theirs THEN i.claimed_for END,
    claimed_until = CASE WHEN NOT theirs THEN i.claimed_until END,
    unclean_ends = CASE WHEN theirs AND :unclean THEN i.unclean_ends + 1 ELSE 0 END,
    batch_limit = CASE WHEN theirs AND i.id = ANY(CAST(:twice AS text[]))
        THEN greatest(1, least(i.batch_limit, :limit)) ELSE i.batch_limit END
    FROM (SELECT id, ({INSTANCE} = :name) IS TRUE AS theirs FROM invoices) AS before
    WHERE before.id = i.id AND i.id = ANY(CAST(:ids AS text[]))

-- name: register_again
INSERT INTO instances (name, incarnation, version)
    VALUES (:name, CAST(:incarnation AS uuid), :version)
    ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, version = excluded.version,
        started_at = now(), seen_at = now(), ended_at = NULL, ended_how = NULL

-- name: left_over
SELECT EXISTS (SELECT FROM invoices i JOIN instances n ON n.name = :name
    WHERE {WORKING} AND i.held_code IS NULL
    AND i.created_at < n.started_at
    AND ({IS_DUE} OR ({MAY_LEAVE} AND NOT {PAUSED})))

-- name: before
SELECT incarnation, seen_at, ended_at, ended_how, gave_ups,
    greatest(0, extract(epoch FROM now() - coalesce(ended_at, seen_at)))::float8 AS down_seconds
FROM instances WHERE name = :name FOR UPDATE

-- Waits for nobody: a lock on this row holds up nothing but the sign of life.
-- name: heartbeat
UPDATE instances SET seen_at = now() WHERE name = (SELECT name FROM instances
    WHERE name = :name AND incarnation = CAST(:incarnation AS uuid) FOR UPDATE SKIP LOCKED)

-- name: is_registered
SELECT EXISTS (SELECT FROM instances WHERE name = :name AND incarnation = CAST(:incarnation AS uuid))

-- name: deregister
UPDATE instances SET ended_at = now(), ended_how = :how,
    gave_ups = CASE WHEN :how = 'gave_up' THEN gave_ups + 1 ELSE 0 END
WHERE name = :name AND incarnation = CAST(:incarnation AS uuid)

-- name: end_claims
UPDATE invoices SET {END_CLAIM} WHERE claimed_by = :by AND id = ANY(CAST(:ids AS text[]))

-- name: lock_holder
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND (CAST(classid AS bigint) << 32 | CAST(objid AS bigint)) = hashtextextended(:name, :seed)
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
