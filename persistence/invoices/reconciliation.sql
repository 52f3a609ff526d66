-- name: join
CREATE TEMPORARY TABLE compared AS
    SELECT coalesce(i.id, b.id) COLLATE "C" AS id, i.state, i.bill_id, i.total_with_tax_eur, b.bookings,
        coalesce(i.updated_at >= :since, false) AS moved
    FROM (SELECT * FROM invoices WHERE CAST(:period AS text) IS NULL OR period = :period) i
    FULL JOIN (
        SELECT id, jsonb_agg(jsonb_build_array(state, bill_id, total_with_tax_eur::text) ORDER BY place)
            AS bookings
        FROM bookings WHERE CAST(:period AS text) IS NULL OR split_part(id, '.', 2) = :period GROUP BY id
    ) b ON b.id = i.id

-- name: make_room
CREATE TEMPORARY TABLE bookings (place bigint GENERATED ALWAYS AS IDENTITY, id text NOT NULL,
    state text NOT NULL, bill_id text, total_with_tax_eur numeric NOT NULL)

-- name: keep
INSERT INTO bookings (id, state, bill_id, total_with_tax_eur)
SELECT id, state, bill_id, total FROM jsonb_to_recordset(CAST(:rows AS jsonb))
    AS r(id text, state text, bill_id text, total numeric)

-- name: page
SELECT * FROM compared WHERE id > :after ORDER BY id LIMIT :limit
