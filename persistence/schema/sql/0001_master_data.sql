-- Master data and register readings.
-- A catalogue's id stands once a month from which its prices hold; an empty month means since ever.
-- Readings lie in a partition each calendar month in UTC. An import makes it; docs/archiving.md takes it out.

CREATE TABLE regulatory_catalogues (
    id text NOT NULL,
    valid_from text NOT NULL DEFAULT '' CHECK (valid_from ~ '^([0-9]{4}-(0[1-9]|1[0-2]))?$'), -- '': since ever
    title text NOT NULL,
    supply_active_energy_t1_price numeric(12,6) NOT NULL CHECK (supply_active_energy_t1_price >= 0),
    supply_active_energy_t2_price numeric(12,6) NOT NULL CHECK (supply_active_energy_t2_price >= 0),
    renewable_energy_fee numeric(12,6) NOT NULL CHECK (renewable_energy_fee >= 0),
    business_usage_fee numeric(12,6) NOT NULL CHECK (business_usage_fee >= 0),
    tax_rate_percent numeric(9,6) NOT NULL CHECK (tax_rate_percent >= 0),
    PRIMARY KEY (id, valid_from)
);
CREATE TABLE network_user_catalogues (
    id text NOT NULL,
    valid_from text NOT NULL DEFAULT '' CHECK (valid_from ~ '^([0-9]{4}-(0[1-9]|1[0-2]))?$'),
    kind text NOT NULL CHECK (kind IN ('white_medium', 'white_low', 'red_low', 'blue_low')),
    title text NOT NULL,
    active_energy_t0_price numeric(12,6) CHECK (active_energy_t0_price >= 0),
    active_energy_t1_price numeric(12,6) CHECK (active_energy_t1_price >= 0),
    active_energy_t2_price numeric(12,6) CHECK (active_energy_t2_price >= 0),
    active_power_peak_price numeric(12,3) CHECK (active_power_peak_price >= 0),
    reactive_energy_price numeric(12,6) NOT NULL CHECK (reactive_energy_price >= 0),
    meter_fee numeric(12,3) NOT NULL CHECK (meter_fee >= 0),
    PRIMARY KEY (id, valid_from)
);
CREATE TABLE locations (
    id text PRIMARY KEY,
    title text NOT NULL,
    regulatory_catalogue text NOT NULL,
    legal_person jsonb NOT NULL -- name, oib, address, postal_code, city
);
CREATE TABLE network_users (
    id text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9-]{1,64}$'),
    title text NOT NULL,
    location text NOT NULL REFERENCES locations,
    altibiz_sub_project_code text NOT NULL,
    billed_from text NOT NULL CHECK (billed_from ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
    billed_until text CHECK (billed_until ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
    legal_person jsonb NOT NULL
);
CREATE TABLE meters (
    id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('abb_b2x', 'schneider_iem3xxx')),
    phases text[] NOT NULL
);
CREATE TABLE measurement_locations (
    id text PRIMARY KEY,
    title text NOT NULL,
    network_user text NOT NULL REFERENCES network_users,
    catalogue text NOT NULL,
    meter_id text NOT NULL UNIQUE DEFERRABLE REFERENCES meters -- so that two can change places in one statement
);
CREATE INDEX measurement_locations_network_user ON measurement_locations (network_user);


CREATE TABLE readings (
    meter_id text NOT NULL, -- checked against meters by the import, set-wise
    at timestamptz NOT NULL,
    active_import_total_wh bigint NOT NULL,
    active_import_t1_wh bigint NOT NULL,
    active_import_t2_wh bigint NOT NULL,
    active_export_total_wh bigint NOT NULL,
    reactive_import_total_varh bigint NOT NULL,
    reactive_export_total_varh bigint NOT NULL,
    PRIMARY KEY (meter_id, at)
) PARTITION BY RANGE (at); -- a partition each month, in UTC: the import makes it, docs/archiving.md takes it out
CREATE TABLE readings_replaced ( -- what stood in readings before, and who changed it
    LIKE readings,
    replaced_at timestamptz NOT NULL DEFAULT now(),
    replaced_by text NOT NULL,
    reason text NOT NULL
);
CREATE INDEX readings_replaced_meter ON readings_replaced (meter_id, at);
