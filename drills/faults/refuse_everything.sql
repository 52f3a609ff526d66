-- A constraint that the invoices of drill_refused violate whatever is changed of them. It is there from the start: adding
-- it would wait for whoever is held within a transaction.
CREATE TABLE drill_refused (id text PRIMARY KEY);
GRANT SELECT ON drill_refused TO PUBLIC;
CREATE FUNCTION drill_allows(id text) RETURNS boolean STABLE LANGUAGE sql AS
    'SELECT NOT EXISTS (SELECT FROM public.drill_refused r WHERE r.id = $1)';
ALTER TABLE invoices ADD CONSTRAINT drill CHECK (drill_allows(id)) NOT VALID;
