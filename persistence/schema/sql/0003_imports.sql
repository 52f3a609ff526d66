-- What was imported or refused, from where, and what became of it. A row is written in the transaction that stores the
-- file's content, so a file that is met again after a crash is known by its SHA-256. Rows are never changed; a refusal
-- that comes again replaces the one before it.

CREATE TABLE imports (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL,           -- of the content, or of the key that a client gave: the same again has the same id
    sha256 text NOT NULL,       -- of the file's bytes
    kind text NOT NULL CHECK (kind IN ('readings', 'master')),
    state text NOT NULL CHECK (state IN ('imported', 'refused')),
    name text NOT NULL,
    source text NOT NULL,       -- inbox, http:PEER or cli:USER
    received_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT now(),
    rows bigint NOT NULL DEFAULT 0,
    new bigint NOT NULL DEFAULT 0,
    known bigint NOT NULL DEFAULT 0,
    replaced bigint NOT NULL DEFAULT 0,
    invoices_released bigint NOT NULL DEFAULT 0,
    reasons text[] NOT NULL DEFAULT '{}',
    CHECK ((state = 'refused') = (reasons <> '{}'))
);
CREATE INDEX imports_id ON imports (id, number);
CREATE INDEX imports_sha256 ON imports (sha256);
CREATE INDEX imports_last_master ON imports (number) WHERE kind = 'master' AND state = 'imported';
