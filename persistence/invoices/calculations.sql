-- name: input
SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(
    id text, claim bigint, energy_kwh numeric, remarked boolean, network_user_id text, period text, revision int, state text, invoice_date date,
    total_eur numeric, tax_rate_percent numeric, tax_eur numeric, total_with_tax_eur numeric,
    calculations jsonb, snapshot jsonb, body text)

-- name: store_documents
INSERT INTO invoice_documents (invoice_id, lines, calculations, snapshot, body)
SELECT r.id, CAST(r.body AS jsonb) -> 'items', r.calculations, r.snapshot, convert_to(r.body, 'UTF8')
FROM changed c JOIN input r ON r.id = c.id AND r.claim = c.claim RETURNING invoice_id

-- name: stale
SELECT DISTINCT r.id FROM jsonb_to_recordset(CAST(:rows AS jsonb))
        AS r(id text, "user" text, period text, meter text, version bigint, starts timestamptz,
            ends timestamptz)
    LEFT JOIN meters m ON m.id = r.meter
    WHERE m.version IS DISTINCT FROM r.version OR EXISTS (
        SELECT FROM billed_spans b WHERE b.meter_id = r.meter AND b.starts_at < r.ends
        AND b.ends_at > r.starts AND (b.network_user_id, b.period) <> (r."user", r.period))

-- Assignments to the invoice `i` from the calculation `r`.
-- name: sets
invoice_date = r.invoice_date, energy_kwh = r.energy_kwh, remarked = r.remarked,
total_eur = r.total_eur, tax_rate_percent = r.tax_rate_percent,
tax_eur = r.tax_eur, total_with_tax_eur = r.total_with_tax_eur,
held_code = NULL, held_reason = NULL, next_attempt_at = NULL, failures = 0,
crash_count = 0, crash_since = NULL, unclean_ends = 0, batch_limit = NULL, {END_CLAIM}
