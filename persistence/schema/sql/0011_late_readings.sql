-- Readings that come after an invoice of their time was computed: readings_replaced says of each that nothing stood there.

ALTER TABLE readings_replaced
    ALTER COLUMN active_import_total_wh DROP NOT NULL, -- null, as all six: there was no reading
    ALTER COLUMN active_import_t1_wh DROP NOT NULL,
    ALTER COLUMN active_import_t2_wh DROP NOT NULL,
    ALTER COLUMN active_export_total_wh DROP NOT NULL,
    ALTER COLUMN reactive_import_total_varh DROP NOT NULL,
    ALTER COLUMN reactive_export_total_varh DROP NOT NULL;
