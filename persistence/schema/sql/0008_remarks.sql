-- What an invoice's remarks need: its energy, to compare the next months with, and whether it waits as it has some.

ALTER TABLE invoices
    ADD COLUMN energy_kwh numeric(20,0),                   -- active energy T0 of all measurement locations
    ADD COLUMN remarked boolean NOT NULL DEFAULT false;    -- it has remarks and is not offered before it is approved
UPDATE invoices i SET energy_kwh = (
    SELECT sum(CAST(item->>'amount' AS numeric)) FROM invoice_documents d, jsonb_array_elements(d.calculations) AS c,
        jsonb_array_elements(c->'items') AS item
    WHERE d.invoice_id = i.id AND item->>'item' = 'supply_renewable_energy_fee'
) WHERE total_eur IS NOT NULL;
