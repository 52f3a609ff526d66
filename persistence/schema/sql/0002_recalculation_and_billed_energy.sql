-- Stale calculations are refused, energy is billed once, and who ended an invoice is a column of its own.
-- refuse_billed_twice: two debts never share an instant of a meter. It locks the meter's row, so that two stores that
-- bill the same meter come one after the other. Whoever stores has locked its meters before its first invoice
-- (persistence/locks.py), so this lock is held already and makes no ring.
-- bill_spans: a stored document bills its meters. free_spans: an aborted invoice gives its energy free, and a
-- registered
-- correction that of the revisions before it; both ask for a recalculation of whoever has the meter.

-- What a calculation rests on ---------------------------------------------------------------------
-- Each import raises the version of the meters that it changes anything about, as its last act. A calculation
-- remembers the versions that it has read, and is refused if they are others when it is stored.
ALTER TABLE meters ADD COLUMN version bigint NOT NULL DEFAULT 0;
-- Imports touch no row of invoices: they say here which meters have other data now, and a daemon takes it up.
CREATE TABLE recalculation_requests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id text,   -- the due invoices of whoever has this meter
    invoice_id text, -- this one, which could not be locked when its request was taken up; both null: all that are due
    requested_at timestamptz NOT NULL DEFAULT now()
);

-- Energy is billed once ---------------------------------------------------------------------------
-- Which meter each live invoice bills for which time: of a debt's revisions those that are open and the last one that
-- is registered. Two debts never share an instant of a meter.
CREATE TABLE billed_spans (
    meter_id text NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    invoice_id text NOT NULL REFERENCES invoices,
    network_user_id text NOT NULL,
    period text NOT NULL,
    PRIMARY KEY (meter_id, starts_at, invoice_id),
    CHECK (starts_at < ends_at)
);
CREATE INDEX billed_spans_invoice ON billed_spans (invoice_id);
CREATE FUNCTION spans_of(d invoice_documents)
    RETURNS TABLE (meter_id text, starts_at timestamptz, ends_at timestamptz) LANGUAGE sql STABLE AS $$
    SELECT DISTINCT c->>'meter_id', CAST(d.snapshot->>'period_start' AS timestamptz),
        CAST(d.snapshot->>'period_end' AS timestamptz)
    FROM jsonb_array_elements(d.calculations) AS c
    WHERE d.snapshot ? 'period_start' AND d.snapshot ? 'period_end'
$$;
-- Before the guard exists: what was billed twice until now stays as it is.
INSERT INTO billed_spans (meter_id, starts_at, ends_at, invoice_id, network_user_id, period)
SELECT s.meter_id, s.starts_at, s.ends_at, i.id, i.network_user_id, i.period
FROM invoices i JOIN invoice_documents d ON d.invoice_id = i.id CROSS JOIN LATERAL spans_of(d) AS s
WHERE i.state <> 'aborted' AND NOT EXISTS (SELECT FROM invoices l WHERE l.network_user_id = i.network_user_id
    AND l.period = i.period AND l.revision > i.revision AND l.state = 'registered');

CREATE FUNCTION refuse_billed_twice() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    other text;
BEGIN
    -- Whoever bills this meter too waits here, and then sees this row.
    PERFORM FROM meters WHERE id = NEW.meter_id FOR NO KEY UPDATE;
    SELECT b.invoice_id INTO other FROM billed_spans b
    WHERE b.meter_id = NEW.meter_id AND b.starts_at < NEW.ends_at AND b.ends_at > NEW.starts_at
        AND (b.network_user_id, b.period) <> (NEW.network_user_id, NEW.period)
    LIMIT 1;
    IF other IS NOT NULL THEN
        RAISE EXCEPTION 'meter % is billed by invoice % in that time already, not by % too',
            NEW.meter_id, other, NEW.invoice_id
            USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'billed_spans_once';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billed_once BEFORE INSERT OR UPDATE ON billed_spans
    FOR EACH ROW EXECUTE FUNCTION refuse_billed_twice();
CREATE FUNCTION bill_spans() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO billed_spans (meter_id, starts_at, ends_at, invoice_id, network_user_id, period)
    SELECT s.meter_id, s.starts_at, s.ends_at, NEW.invoice_id,
        split_part(NEW.invoice_id, '.', 1), split_part(NEW.invoice_id, '.', 2) -- user.period.revision, by a CHECK
    FROM spans_of(NEW) AS s ORDER BY s.meter_id;
    RETURN NULL;
END $$;
CREATE TRIGGER billed AFTER INSERT ON invoice_documents FOR EACH ROW EXECUTE FUNCTION bill_spans();
-- What ends gives its energy free: an aborted invoice its own, a registered correction that of the revisions before it.
CREATE FUNCTION free_spans() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH freed AS (
        DELETE FROM billed_spans b
        WHERE (NEW.state = 'aborted' AND b.invoice_id = NEW.id) OR (NEW.state = 'registered'
            AND b.invoice_id IN (SELECT NEW.network_user_id || '.' || NEW.period || '.' || earlier
                FROM generate_series(1, NEW.revision - 1) AS earlier))
        RETURNING b.meter_id
    )
    INSERT INTO recalculation_requests (meter_id) SELECT DISTINCT meter_id FROM freed;
    RETURN NULL;
END $$;
CREATE TRIGGER spans_freed AFTER UPDATE OF state ON invoices FOR EACH ROW
    WHEN (NEW.state = 'aborted' OR (NEW.state = 'registered' AND NEW.revision > 1))
    EXECUTE FUNCTION free_spans();

-- Who ended an invoice ----------------------------------------------------------------------------
ALTER TABLE invoices ADD COLUMN ended_by text CHECK (ended_by IN ('erp', 'operator', 'correction'));
-- Until now a prefix of the reason said it, which the ERP could write as well: its actor has '#', a person's has not.
UPDATE invoices i SET ended_by = CASE
    WHEN h.actor LIKE '%#%' OR h.actor IS NULL THEN 'erp'
    WHEN i.abort_reason LIKE 'superseded by %' THEN 'correction'
    ELSE 'operator' END
FROM invoices same LEFT JOIN LATERAL (
    SELECT actor FROM invoice_history WHERE invoice_id = same.id AND to_state = 'aborted' ORDER BY seq DESC LIMIT 1
) AS h ON true
WHERE same.id = i.id AND i.state = 'aborted';
ALTER TABLE invoices ADD CHECK ((state = 'aborted') = (ended_by IS NOT NULL));

-- A witness is one of the same daemon --------------------------------------------------------------
ALTER TABLE erp_exchanges ADD COLUMN instance text NOT NULL DEFAULT ''; -- whose daemon made the request; '': unknown
