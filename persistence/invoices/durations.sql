-- What a claimer's invoices have come to between two instants, and the first time at which each stood where it began:
-- of a request's leaving `calculated`, of what ended a delivery the first offer.
-- name: durations
SELECT i.period, h.to_state AS state, h.at, extract(epoch FROM h.at - begun.at)::float8 AS seconds
FROM invoice_history h JOIN invoices i ON i.id = h.invoice_id CROSS JOIN LATERAL (
    SELECT min(p.at) AS at FROM invoice_history p WHERE p.invoice_id = h.invoice_id AND p.seq < h.seq
        AND p.to_state = CASE h.to_state WHEN 'sent' THEN 'calculated' ELSE 'sent' END) begun
WHERE h.to_state IN ('sent', 'registered', 'aborted', 'held') AND h.from_state IN ('calculated', 'sent', 'initiated')
    AND h.from_state <> h.to_state AND h.at > :since AND h.at <= :until AND h.actor = :by AND begun.at IS NOT NULL
