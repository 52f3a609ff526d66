-- What a person has ordered, which months are closed, the alarms, and the daemons on this database.

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
