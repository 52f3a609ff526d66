-- Invoices, their documents, their history and what was said with the ERP. The row is the queue.
-- The states are those of billing/states.py. CHECKs tie each state to the columns that it needs.
-- A claim is the four columns claim, claimed_by, claimed_for and claimed_until. Each claim raises the number; a write
-- that names an older number changes nothing (persistence/invoices/transitions.py).
-- Locks: meters, then invoices, each in the order of their ids (persistence/locks.py).

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
