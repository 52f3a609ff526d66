"""The first schema: master data, readings, invoices with their claims and history, alarms, instances."""

from alembic import op

revision = "0001"
down_revision = None

SCHEMA = """
-- Master data ---------------------------------------------------------------------------------
CREATE TABLE regulatory_catalogues (
    id text NOT NULL,
    valid_from text NOT NULL DEFAULT '' CHECK (valid_from ~ '^([0-9]{4}-(0[1-9]|1[0-2]))?$'), -- '': since ever
    title text NOT NULL,
    supply_active_energy_t1_price numeric(12,6) NOT NULL CHECK (supply_active_energy_t1_price >= 0),
    supply_active_energy_t2_price numeric(12,6) NOT NULL CHECK (supply_active_energy_t2_price >= 0),
    renewable_energy_fee numeric(12,6) NOT NULL CHECK (renewable_energy_fee >= 0),
    business_usage_fee numeric(12,6) NOT NULL CHECK (business_usage_fee >= 0),
    tax_rate_percent numeric(9,6) NOT NULL CHECK (tax_rate_percent >= 0),
    PRIMARY KEY (id, valid_from)
);
CREATE TABLE network_user_catalogues (
    id text NOT NULL,
    valid_from text NOT NULL DEFAULT '' CHECK (valid_from ~ '^([0-9]{4}-(0[1-9]|1[0-2]))?$'),
    kind text NOT NULL CHECK (kind IN ('white_medium', 'white_low', 'red_low', 'blue_low')),
    title text NOT NULL,
    active_energy_t0_price numeric(12,6) CHECK (active_energy_t0_price >= 0),
    active_energy_t1_price numeric(12,6) CHECK (active_energy_t1_price >= 0),
    active_energy_t2_price numeric(12,6) CHECK (active_energy_t2_price >= 0),
    active_power_peak_price numeric(12,3) CHECK (active_power_peak_price >= 0),
    reactive_energy_price numeric(12,6) NOT NULL CHECK (reactive_energy_price >= 0),
    meter_fee numeric(12,3) NOT NULL CHECK (meter_fee >= 0),
    PRIMARY KEY (id, valid_from)
);
CREATE TABLE locations (
    id text PRIMARY KEY,
    title text NOT NULL,
    regulatory_catalogue text NOT NULL,
    legal_person jsonb NOT NULL -- name, oib, address, postal_code, city
);
CREATE TABLE network_users (
    id text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9-]{1,64}$'),
    title text NOT NULL,
    location text NOT NULL REFERENCES locations,
    altibiz_sub_project_code text NOT NULL,
    billed_from text NOT NULL CHECK (billed_from ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
    billed_until text CHECK (billed_until ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
    legal_person jsonb NOT NULL
);
CREATE TABLE meters (
    id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('abb_b2x', 'schneider_iem3xxx')),
    phases text[] NOT NULL
);
CREATE TABLE measurement_locations (
    id text PRIMARY KEY,
    title text NOT NULL,
    network_user text NOT NULL REFERENCES network_users,
    catalogue text NOT NULL,
    meter_id text NOT NULL UNIQUE DEFERRABLE REFERENCES meters -- so that two can change places in one statement
);
CREATE INDEX measurement_locations_network_user ON measurement_locations (network_user);

-- Readings ------------------------------------------------------------------------------------
CREATE TABLE readings (
    meter_id text NOT NULL, -- checked against meters by the import, set-wise
    at timestamptz NOT NULL,
    active_import_total_wh bigint NOT NULL,
    active_import_t1_wh bigint NOT NULL,
    active_import_t2_wh bigint NOT NULL,
    active_export_total_wh bigint NOT NULL,
    reactive_import_total_varh bigint NOT NULL,
    reactive_export_total_varh bigint NOT NULL,
    PRIMARY KEY (meter_id, at)
) PARTITION BY RANGE (at); -- a partition each month, in UTC: the import makes it, docs/archiving.md takes it out
CREATE TABLE readings_replaced ( -- what stood in readings before, and who changed it
    LIKE readings,
    replaced_at timestamptz NOT NULL DEFAULT now(),
    replaced_by text NOT NULL,
    reason text NOT NULL
);
CREATE INDEX readings_replaced_meter ON readings_replaced (meter_id, at);

-- Invoices: the row is the queue ---------------------------------------------------------------
CREATE TABLE invoices (
    id text PRIMARY KEY,
    network_user_id text NOT NULL REFERENCES network_users,
    period text NOT NULL CHECK (period ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
    revision integer NOT NULL DEFAULT 1 CHECK (revision >= 1),
    state text NOT NULL DEFAULT 'due'
        CHECK (state IN ('due', 'calculated', 'sent', 'initiated', 'registered', 'aborted', 'held')),
    bill_id text UNIQUE,
    abort_reason text,
    held_code text,   -- in held: an alarm's code; in due: which readings it waits for
    held_reason text,
    held_from text CHECK (held_from IN ('due', 'calculated', 'sent', 'initiated')), -- where a retry puts it
    invoice_date date,
    total_eur numeric(16,2),
    tax_rate_percent numeric(9,6),
    tax_eur numeric(16,2),
    total_with_tax_eur numeric(16,2),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(), -- of the last change of state
    -- delivery
    attempts integer NOT NULL DEFAULT 0,           -- offers begun
    polls integer NOT NULL DEFAULT 0,              -- askings since initiated, for their backoff
    failures integer NOT NULL DEFAULT 0,           -- outcomes in a row that were not the ERP's word, for the backoff
    next_attempt_at timestamptz,                   -- null: now
    last_outcome text,                             -- of the last offer; null while unknown: ask before offering
    last_attempt_at timestamptz,
    approved_at timestamptz,                       -- where billing.approval is required: not offered before
    -- claims: who works on it, until when, under which number
    claim bigint NOT NULL DEFAULT 0,
    claimed_by text,                               -- instance and incarnation
    claimed_for text CHECK (claimed_for IN ('calculation', 'delivery')),
    claimed_until timestamptz,
    -- blame: counts that may hold it, each with the instant since which a witness counts
    refused_since timestamptz,
    incorrect_count integer NOT NULL DEFAULT 0,
    incorrect_since timestamptz,
    crash_count integer NOT NULL DEFAULT 0,
    crash_since timestamptz,
    unclean_ends integer NOT NULL DEFAULT 0,       -- ends of the whole process in a row that it was in hand at
    batch_limit integer,                           -- worked on in batches of at most so many: halves, after a crash
    history_length integer NOT NULL DEFAULT 0,
    UNIQUE (network_user_id, period, revision),
    CHECK (id = network_user_id || '.' || period || '.' || revision),
    CHECK ((state = 'registered') = (bill_id IS NOT NULL)),
    CHECK ((state = 'aborted') = (abort_reason IS NOT NULL)),
    CHECK ((state = 'held') = (held_from IS NOT NULL)),
    CHECK (state <> 'held' OR (held_code IS NOT NULL AND held_reason IS NOT NULL)),
    CHECK (state IN ('due', 'held') OR held_code IS NULL),
    -- not `held_from = 'due'`, which is null beside most states: a CHECK lets null pass
    CHECK (state IN ('due', 'aborted') OR held_from IS NOT DISTINCT FROM 'due' OR (
        total_eur IS NOT NULL AND tax_rate_percent IS NOT NULL AND tax_eur IS NOT NULL
        AND total_with_tax_eur = total_eur + tax_eur AND invoice_date IS NOT NULL)),
    CHECK ((claimed_by IS NULL) = (claimed_until IS NULL) AND (claimed_by IS NULL) = (claimed_for IS NULL))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX invoices_one_open_revision ON invoices (network_user_id, period)
    WHERE state NOT IN ('registered', 'aborted');
-- The four ways work is looked for; what a crash has made suspect is few and comes last.
CREATE INDEX invoices_to_calculate ON invoices (next_attempt_at NULLS FIRST, period, id)
    WHERE state = 'due' AND batch_limit IS NULL;
CREATE INDEX invoices_to_offer ON invoices (next_attempt_at NULLS FIRST, period, id)
    WHERE state IN ('calculated', 'sent') AND batch_limit IS NULL;
CREATE INDEX invoices_to_ask ON invoices (next_attempt_at NULLS FIRST)
    WHERE state = 'initiated' AND batch_limit IS NULL;
CREATE INDEX invoices_suspect ON invoices (batch_limit) WHERE batch_limit IS NOT NULL;
CREATE INDEX invoices_claimed ON invoices (claimed_by) WHERE claimed_by IS NOT NULL;
CREATE INDEX invoices_open ON invoices (state, updated_at) WHERE state NOT IN ('registered', 'aborted');
CREATE INDEX invoices_listed ON invoices (period, network_user_id, revision);
CREATE INDEX invoices_aborted ON invoices (period) WHERE state = 'aborted'; -- looked at every 2 s for its alarm

CREATE TABLE invoice_documents ( -- what an invoice says and what it was computed from; written once
    invoice_id text PRIMARY KEY REFERENCES invoices,
    lines jsonb NOT NULL,        -- [{ordinal, name, unit, quantity, price_eur}]
    calculations jsonb NOT NULL, -- [{measurement_location_id, meter_id, catalogue_kind, items: [...]}]
    snapshot jsonb NOT NULL,     -- names, codes, catalogues and instants as they stood
    body bytea NOT NULL,         -- the bytes that each offer to the ERP sends
    hash bytea NOT NULL          -- of all of it, made by its trigger
);
CREATE TABLE invoice_history (
    invoice_id text NOT NULL REFERENCES invoices,
    seq integer NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    from_state text,             -- null: the invoice was made
    to_state text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    write_id uuid NOT NULL,      -- of the transaction: found here, a COMMIT whose answer was lost has happened
    position bigint GENERATED ALWAYS AS IDENTITY, -- in the whole trail: what a day's root covers
    hash bytea NOT NULL,         -- of this row and the hash of the one before, made by its trigger
    PRIMARY KEY (invoice_id, seq)
);

-- The audit trail: whoever writes, the database chains. `billingd verify` makes the same again and compares.
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
CREATE INDEX invoice_history_write ON invoice_history (write_id);
CREATE INDEX invoice_history_passed ON invoice_history (to_state, at);
CREATE TABLE erp_exchanges (     -- the same outcome again counts up the last row, so an outage stays small
    invoice_id text NOT NULL REFERENCES invoices,
    seq integer NOT NULL,
    method text NOT NULL CHECK (method IN ('PUT', 'GET')),
    outcome text NOT NULL,
    status integer,
    detail text NOT NULL,
    first_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    times integer NOT NULL DEFAULT 1,
    PRIMARY KEY (invoice_id, seq)
);
CREATE INDEX erp_exchanges_witness ON erp_exchanges (method, last_at) WHERE outcome = 'booked';

-- The arrows of docs/spec/billing.md, "Where an invoice can stand", whatever the code does.
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

-- What an operator has ordered, and what was told of a month ------------------------------------
CREATE TABLE delivery_pauses (   -- while one stands nothing is claimed for delivery
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now(),
    until timestamptz NOT NULL,
    by text NOT NULL,
    reason text NOT NULL,
    resumed_at timestamptz,      -- by a person, before its time, or replaced by another
    resumed_by text,
    resume_reason text,
    CHECK ((resumed_at IS NULL) = (resumed_by IS NULL) AND (resumed_at IS NULL) = (resume_reason IS NULL))
);
CREATE UNIQUE INDEX delivery_pauses_standing ON delivery_pauses ((true)) WHERE resumed_at IS NULL;
CREATE TABLE period_closings (   -- periods whose every invoice is final, as they were when it was told
    period text PRIMARY KEY CHECK (period ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
    closed_at timestamptz NOT NULL DEFAULT now(),
    told_at timestamptz,         -- null: the notice is still to be given
    registered bigint NOT NULL,
    aborted bigint NOT NULL,
    total_eur numeric(18,2) NOT NULL,
    tax_eur numeric(18,2) NOT NULL,
    total_with_tax_eur numeric(18,2) NOT NULL
);

-- Operations -----------------------------------------------------------------------------------
CREATE TABLE alarms (
    id text PRIMARY KEY,
    code text NOT NULL,
    key text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('critical', 'major', 'minor', 'warning')),
    summary text NOT NULL,
    count bigint NOT NULL DEFAULT 1,
    raised_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    cleared_at timestamptz,
    acked_at timestamptz,
    acked_by text,
    ack_reason text,
    instance text NOT NULL,
    context jsonb NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX alarms_standing ON alarms (code, key) WHERE cleared_at IS NULL;
CREATE TABLE instances (
    name text PRIMARY KEY,
    incarnation uuid NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),   -- sign of life
    ended_at timestamptz,                          -- of a clean end
    ended_how text,                                -- 'clean' or 'gave_up'; null: running, or ended unclean
    unclean_ends integer NOT NULL DEFAULT 0,       -- in a row
    gave_ups integer NOT NULL DEFAULT 0            -- in a row
);
"""


def upgrade() -> None:
    """Makes the schema."""
    op.execute(SCHEMA)
