-- name: registered
SELECT i.id, d.lines, d.snapshot, i.tax_eur FROM invoices i JOIN invoice_documents d ON d.invoice_id = i.id
WHERE i.id = ANY(CAST(:ids AS text[])) AND {IS_REGISTERED} ORDER BY i.revision

-- name: last_final
SELECT id FROM (
    SELECT DISTINCT ON (network_user_id) * FROM invoices WHERE period = :period ORDER BY network_user_id, revision DESC
) AS last WHERE {FINAL} AND {NOT_TAKEN_BACK} ORDER BY id
