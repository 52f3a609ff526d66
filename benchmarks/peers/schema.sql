CREATE TABLE users (
    number int PRIMARY KEY, code text NOT NULL,
    t1_begin_wh numeric NOT NULL, t1_end_wh numeric NOT NULL, t2_begin_wh numeric NOT NULL, t2_end_wh numeric NOT NULL,
    reactive_begin_varh numeric NOT NULL, reactive_end_varh numeric NOT NULL, peak_kw numeric NOT NULL,
    price_t0 numeric NOT NULL, price_t1 numeric NOT NULL, price_t2 numeric NOT NULL, price_peak numeric NOT NULL,
    price_reactive numeric NOT NULL, fee numeric NOT NULL, supply_t1 numeric NOT NULL, supply_t2 numeric NOT NULL,
    renewable numeric NOT NULL, excise numeric NOT NULL, tax_rate numeric NOT NULL
);
CREATE TABLE invoices (
    id text PRIMARY KEY, number int NOT NULL, total_eur numeric(14, 2) NOT NULL, tax_eur numeric(14, 2) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(), bill_id text, billed_at timestamptz
);
CREATE TABLE lines (
    invoice_id text NOT NULL REFERENCES invoices, ordinal text NOT NULL, quantity numeric NOT NULL,
    price numeric NOT NULL, amount_eur numeric(14, 2) NOT NULL, PRIMARY KEY (invoice_id, ordinal)
);
CREATE TABLE runs (began_at timestamptz NOT NULL DEFAULT clock_timestamp());
INSERT INTO users
SELECT n, 'L-' || lpad(n::text, 5, '0'), n * 1000 + 0.123, n * 1000 + 250000 + n % 7777 + 0.456, n * 900,
    n * 900 + 180000 + n % 5555, n * 5, n * 5 + 30000 + n % 999, 6 + n % 11, 0.03417, 0.04988, 0.02022, 1.95, 0.02125, 2.74,
    0.11342, 0.08671, 0.01395, 0.00132, 13
FROM generate_series(1, 10000) n;
ANALYZE users;
