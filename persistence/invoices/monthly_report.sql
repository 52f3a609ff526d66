-- name: month_rows
SELECT i.*, d.lines, coalesce(d.snapshot->'location'->>'id', u.location) AS location_id,
        coalesce(d.snapshot->'location'->>'title', l.title) AS location_title,
        coalesce(d.snapshot->'network_user'->>'title', u.title) AS network_user_title,
        coalesce(d.snapshot->'network_user'->'legal_person', u.legal_person) AS legal_person,
        coalesce(d.snapshot->>'altibiz_sub_project_code', u.altibiz_sub_project_code)
            AS sub_project_code
    FROM invoices i JOIN network_users u ON u.id = i.network_user_id
    JOIN locations l ON l.id = u.location
    LEFT JOIN invoice_documents d ON d.invoice_id = i.id
    WHERE i.period = :period AND i.id COLLATE "C" > :after ORDER BY i.id COLLATE "C"
    LIMIT :limit

-- name: line_totals
SELECT d.snapshot->'location'->>'id' AS location_id, line->>'ordinal' AS ordinal,
        min(line->>'name') AS name, sum((line->>'price_eur')::numeric) AS price_eur
    FROM invoices i JOIN invoice_documents d ON d.invoice_id = i.id,
        jsonb_array_elements(d.lines) AS line
    WHERE i.period = :period AND i.state = 'registered' GROUP BY 1, 2 ORDER BY 1, 2

-- name: location_totals
SELECT d.snapshot->'location'->>'id' AS location_id,
        min(d.snapshot->'location'->>'title') AS location_title, count(*) AS invoices,
        sum(i.total_eur) AS total_eur, sum(i.tax_eur) AS tax_eur,
        sum(i.total_with_tax_eur) AS total_with_tax_eur
    FROM invoices i JOIN invoice_documents d ON d.invoice_id = i.id
    WHERE i.period = :period AND i.state = 'registered' GROUP BY 1 ORDER BY 1
