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
    WHERE i.period = :period AND i.state = 'registered'
    GROUP BY GROUPING SETS ((1, 2), (2)) ORDER BY 1 NULLS LAST, 2

-- name: location_totals
SELECT d.snapshot->'location'->>'id' AS location_id,
        CASE WHEN grouping(d.snapshot->'location'->>'id') = 0 THEN min(d.snapshot->'location'->>'title') END
            AS location_title,
        count(*) AS invoices, coalesce(sum(i.total_eur), 0) AS total_eur, coalesce(sum(i.tax_eur), 0) AS tax_eur,
        coalesce(sum(i.total_with_tax_eur), 0) AS total_with_tax_eur
    FROM invoices i JOIN invoice_documents d ON d.invoice_id = i.id
    WHERE i.period = :period AND i.state = 'registered'
    GROUP BY GROUPING SETS ((1), ()) ORDER BY 1 NULLS LAST
