-- name: attached
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'readings'::regclass AND NOT i.inhdetachpending AND c.relname = ANY(CAST(:names AS text[]))
