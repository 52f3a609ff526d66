-- A measurement location may have one network-user catalogue after the other.
-- catalogue_in: which one holds in a period.

ALTER TABLE measurement_locations
    ALTER COLUMN catalogue DROP NOT NULL,
    ADD COLUMN catalogues jsonb, -- [{catalogue, valid_from}], in order; null: catalogue, always
    ADD CHECK ((catalogue IS NULL) <> (catalogues IS NULL));
CREATE FUNCTION catalogue_in(m measurement_locations, period text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(m.catalogue, (SELECT c->>'catalogue' FROM jsonb_array_elements(m.catalogues) AS c
        WHERE coalesce(c->>'valid_from', '') <= period ORDER BY coalesce(c->>'valid_from', '') DESC LIMIT 1))
$$;
