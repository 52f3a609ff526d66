-- Where the database has stood. A failover starts a new timeline, a restore may bring another server: either may lack
-- what was committed last, so what the ERP was offered may be unknown here. docs/spec/failures.md, "Failover".

CREATE TABLE database_timelines (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    system_identifier bigint NOT NULL,
    timeline integer NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    asked_up_to text    -- the ERP is asked before the first offer of this period and those before; null: no change
);
-- The change (database_timelines.id) that was known at the last claim for delivery: an outcome from before it is no proof.
ALTER TABLE invoices ADD COLUMN delivery_timeline bigint;
