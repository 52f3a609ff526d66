-- Roots are chained in the order in which they were made, which `ordinal` says: by the day, one that was made while the
-- database's clock was ahead would come last for ever. TRUNCATE fires no trigger of a row, so it gets one of its own.

ALTER TABLE audit_roots ADD COLUMN ordinal bigint;
ALTER TABLE audit_roots DISABLE TRIGGER written_once;
UPDATE audit_roots r SET ordinal = numbered.ordinal
    FROM (SELECT day, row_number() OVER (ORDER BY day) AS ordinal FROM audit_roots) AS numbered
    WHERE numbered.day = r.day;
ALTER TABLE audit_roots ENABLE TRIGGER written_once;
ALTER TABLE audit_roots ALTER COLUMN ordinal SET NOT NULL, ADD UNIQUE (ordinal);
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON invoices FOR EACH STATEMENT EXECUTE FUNCTION written_once();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON invoice_documents FOR EACH STATEMENT EXECUTE FUNCTION written_once();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON invoice_history FOR EACH STATEMENT EXECUTE FUNCTION written_once();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON audit_roots FOR EACH STATEMENT EXECUTE FUNCTION written_once();
