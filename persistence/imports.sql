-- Of master data only the newest import is known: what was in force before may come again, and has to be taken again.
-- name: known
SELECT id, sha256, name, finished_at FROM imports
WHERE state = 'imported' AND (id = :key OR sha256 = :sha256 AND (kind = 'readings' OR number =
    (SELECT max(number) FROM imports WHERE kind = 'master' AND state = 'imported')))
ORDER BY id = :key DESC, number DESC LIMIT 1

-- name: forget_refusal
DELETE FROM imports WHERE id = :id AND sha256 = :sha256 AND state = 'refused'

-- name: not_imported
SELECT s FROM unnest(CAST(:sums AS text[])) AS s
WHERE NOT EXISTS (SELECT FROM imports i WHERE i.sha256 = s AND i.state = 'imported')
