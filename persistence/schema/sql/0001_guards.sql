-- What the database refuses, whatever the program does.
-- invoices_guard: the arrows between the states, as in billing/states.py (docs/spec/billing.md, "Where an invoice can
-- stand"), and that the amounts of a calculated invoice never change. A test compares the arrows with
-- billing/states.py.
-- written_once: documents, history and roots are never changed or deleted; an invoice is never deleted.

CREATE FUNCTION invoices_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> OLD.state AND NOT (
        (OLD.state = 'due'        AND NEW.state IN ('calculated', 'held', 'aborted')) OR
        (OLD.state = 'calculated' AND NEW.state IN ('sent', 'initiated', 'registered', 'aborted', 'held')) OR
        (OLD.state = 'sent'       AND NEW.state IN ('initiated', 'registered', 'aborted', 'held')) OR
        (OLD.state = 'initiated'  AND NEW.state IN ('registered', 'aborted', 'held', 'sent')) OR
        (OLD.state = 'held'       AND NEW.state IN (OLD.held_from, 'initiated', 'registered', 'aborted'))
    ) THEN
        RAISE EXCEPTION 'invoice % can not go from % to %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.total_eur IS NOT NULL AND (NEW.total_eur, NEW.tax_eur, NEW.total_with_tax_eur, NEW.tax_rate_percent,
        NEW.invoice_date) IS DISTINCT FROM (OLD.total_eur, OLD.tax_eur, OLD.total_with_tax_eur,
        OLD.tax_rate_percent, OLD.invoice_date) THEN
        RAISE EXCEPTION 'the amounts of invoice % can not change', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER invoices_guard BEFORE UPDATE ON invoices FOR EACH ROW EXECUTE FUNCTION invoices_guard();
CREATE FUNCTION written_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is written once', TG_TABLE_NAME USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER written_once BEFORE UPDATE OR DELETE ON invoice_documents
    FOR EACH ROW EXECUTE FUNCTION written_once();
CREATE TRIGGER written_once BEFORE UPDATE OR DELETE ON invoice_history
    FOR EACH ROW EXECUTE FUNCTION written_once();
CREATE TRIGGER written_once BEFORE UPDATE OR DELETE ON audit_roots
    FOR EACH ROW EXECUTE FUNCTION written_once();
CREATE TRIGGER never_deleted BEFORE DELETE ON invoices FOR EACH ROW EXECUTE FUNCTION written_once();
