-- name: waiting
SELECT id FROM invoices WHERE {WAITS}
    AND (CAST(:period AS text) IS NULL OR period = :period)
    AND (CAST(:ids AS text[]) IS NULL OR id = ANY(CAST(:ids AS text[])))
ORDER BY id

-- Each of these beside what its user was billed on average in the last months before it.
-- name: shown
WITH shown AS (
    SELECT i.id, i.network_user_id, i.period, i.total_eur, i.tax_eur, i.total_with_tax_eur, past.usual_eur
    FROM invoices i LEFT JOIN LATERAL (
        SELECT avg(month.total_eur) AS usual_eur FROM (
            SELECT sum(p.total_with_tax_eur) AS total_eur FROM invoices p
            WHERE p.network_user_id = i.network_user_id AND p.period < i.period AND p.state = 'registered'
            GROUP BY p.period ORDER BY p.period DESC LIMIT :months
        ) AS month
    ) AS past ON true
    WHERE i.id = ANY(CAST(:ids AS text[]))
)

-- name: preview
{shown} SELECT line->>'ordinal' AS ordinal, min(line->>'name') AS name,
       sum((line->>'price_eur')::numeric) AS price_eur
    FROM shown w JOIN invoice_documents d ON d.invoice_id = w.id,
       jsonb_array_elements(d.lines) AS line GROUP BY 1 ORDER BY 1

-- name: remarks
SELECT d.invoice_id AS id, remark FROM invoice_documents d, jsonb_array_elements_text(d.snapshot->'remarks') AS remark
WHERE d.invoice_id = ANY(CAST(:ids AS text[])) ORDER BY d.invoice_id, remark

-- name: sums
{shown} SELECT coalesce(sum(total_eur), 0) AS total_eur, coalesce(sum(tax_eur), 0) AS tax_eur,
    coalesce(sum(total_with_tax_eur), 0) AS total_with_tax_eur FROM shown

-- name: largest
{shown} SELECT id, total_with_tax_eur, usual_eur FROM shown ORDER BY total_with_tax_eur DESC, id LIMIT :examples

-- name: smallest
{shown} SELECT id, total_with_tax_eur, usual_eur FROM shown ORDER BY total_with_tax_eur, id LIMIT :examples

-- name: furthest
{shown} SELECT id, total_with_tax_eur, usual_eur FROM shown WHERE usual_eur IS NOT NULL
    ORDER BY abs(total_with_tax_eur / nullif(usual_eur, 0) - 1) DESC NULLS LAST, id LIMIT :examples
