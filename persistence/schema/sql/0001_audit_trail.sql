-- The audit trail. Triggers chain each history row to the one before, and hash each document, whoever writes.
-- Once a day a root is stored over the heads of all chains up to a position. `billingd verify` makes the same hashes
-- again
-- and compares. history_hash and document_hash read nothing but their arguments, so both sides share them.

CREATE FUNCTION history_hash(before bytea, h invoice_history) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(coalesce(before, '') || convert_to(jsonb_build_array(h.invoice_id, h.seq,
        to_char(h.at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), h.from_state, h.to_state, h.actor, h.reason,
        h.write_id)::text, 'UTF8'))
$$;
CREATE FUNCTION chain_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.hash := history_hash((SELECT hash FROM invoice_history
        WHERE invoice_id = NEW.invoice_id AND seq = NEW.seq - 1), NEW);
    RETURN NEW;
END $$;
CREATE TRIGGER chain BEFORE INSERT ON invoice_history FOR EACH ROW EXECUTE FUNCTION chain_history();
CREATE FUNCTION document_hash(d invoice_documents) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(d.body || convert_to(
        jsonb_build_array(d.invoice_id, d.lines, d.calculations, d.snapshot)::text, 'UTF8'))
$$;
CREATE FUNCTION hash_document() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.hash := document_hash(NEW);
    RETURN NEW;
END $$;
CREATE TRIGGER hashed BEFORE INSERT ON invoice_documents FOR EACH ROW EXECUTE FUNCTION hash_document();
CREATE TABLE audit_roots (       -- each day one hash over all chains up to a position and the documents in them
    day date PRIMARY KEY,
    at timestamptz NOT NULL,
    position bigint NOT NULL,
    invoices bigint NOT NULL,
    root bytea NOT NULL
);
