-- Lets no invoice of drill_refused change its state, save into `held`: as a constraint that one row violates.
CREATE TABLE drill_refused (id text PRIMARY KEY);
GRANT SELECT ON drill_refused TO PUBLIC;
CREATE FUNCTION drill_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state NOT IN (OLD.state, 'held') AND EXISTS (SELECT FROM drill_refused r WHERE r.id = NEW.id) THEN
        RAISE EXCEPTION 'new row for relation "invoices" violates check constraint "drill"'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'drill';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER drill_refuse BEFORE UPDATE ON invoices FOR EACH ROW EXECUTE FUNCTION drill_refuse();
