-- Each table, and a column of it that takes a value.
-- name: columns
SELECT c.relname AS name, min(a.attname) AS column_name
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND a.attnum > 0 AND a.attidentity = '' AND NOT a.attisdropped GROUP BY 1 ORDER BY 1
