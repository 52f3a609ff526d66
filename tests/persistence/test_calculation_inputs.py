"""From real readings to invoices: the figures of the sample data to the cent, and every reason to wait."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from billing.invoice import Invoice, NotReady, calculate
from persistence.connection.database import Database
from persistence.invoices.calculation_inputs import INPUTS, fetch_inputs
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from persistence.readings.partitions import Month, make_month
from tests.support.sample import BAD, SAMPLE
from tests.support.superuser import as_superuser

ZAGREB = ZoneInfo("Europe/Zagreb")


def outcomes(database: Database, *invoice_ids: str) -> dict[str, Invoice | NotReady]:
    with database.transaction() as connection:
        bases = fetch_inputs(connection, invoice_ids, ZAGREB)
    assert [str(basis.id) for basis in bases] == list(invoice_ids)
    return {str(basis.id): calculate(basis, 95) for basis in bases}


def load(database: Database, master: Path, *readings: Path) -> None:
    with database.transaction() as connection:
        import_master(connection, master)
        for path in readings:
            import_readings(connection, path)


def run(database: Database, sql: str) -> None:
    with database.transaction() as connection:
        connection.execute(text(sql))


@pytest.fixture
def three_users(database: Database) -> Database:
    load(database, BAD / "master.yaml", BAD / "readings-2026-08.csv.gz")
    return database


def test_the_sample_months_come_out_as_expected_to_the_cent(database: Database) -> None:
    load(database, SAMPLE / "master.yaml", *sorted(SAMPLE.glob("readings-*.csv.gz")))
    expected = json.loads((SAMPLE / "expected-invoices.json").read_text("utf-8"))
    every = [invoice for month in expected.values() for invoice in month]
    assert len(every) == 24
    made = outcomes(database, *(each["id"] for each in every))  # one batch with both months
    for each in every:
        invoice = made[each["id"]]
        assert isinstance(invoice, Invoice), invoice
        assert {
            "id": str(invoice.id),
            "network_user_id": invoice.id.network_user_id,
            "period": str(invoice.id.period),
            "invoice_date": invoice.invoice_date.isoformat(),
            "lines": {line.ordinal: str(line.price_eur) for line in invoice.lines},
            "total_eur": str(invoice.total_eur),
            "tax_eur": str(invoice.tax_eur),
            "total_with_tax_eur": str(invoice.total_with_tax_eur),
        } == each


@pytest.mark.parametrize(
    ("file", "code", "words"),
    [
        ("readings-decreasing-register", "readings_inconsistent",
         "meter abb-B2x-00252537: active_import_total_wh falls at 2026-08-14T09:30:00Z"),
        ("readings-missing-boundary", "readings_incomplete",
         "meter abb-B2x-00220651 has no reading at 2026-07-31T22:00:00Z"),
        ("readings-gap-3-days", "readings_incomplete",
         "meter abb-B2x-00220651 has 2688 of 2976 quarter hours, 95 % are needed; "
         "the first gap follows the reading at 2026-08-11T00:00:00Z"),
    ],
)  # fmt: skip
def test_readings_that_are_no_error_and_yet_not_enough_make_one_user_wait(
    database: Database, file: str, code: str, words: str
) -> None:
    load(database, BAD / "master.yaml", BAD / f"{file}.csv.gz")
    made = outcomes(database, "user-004.2026-08.1", "user-008.2026-08.1", "user-012.2026-08.1")
    waiting = [each for each in made.values() if isinstance(each, NotReady)]
    assert waiting == [NotReady(code, words)]


@pytest.mark.parametrize(
    "register", ["active_export_total_wh", "reactive_import_total_varh", "reactive_export_total_varh"]
)
@pytest.mark.parametrize("at", ["2026-07-31T22:00:00Z", "2026-08-31T21:45:00Z"])
def test_a_fall_of_any_register_counts_at_both_ends_too(three_users: Database, register: str, at: str) -> None:
    # higher at `at` than ever after: the fall shows at the next reading
    run(three_users, f"UPDATE readings SET {register} = 10^15 WHERE meter_id = 'abb-B2x-00129728' AND at = '{at}'")
    outcome = outcomes(three_users, "user-012.2026-08.1")["user-012.2026-08.1"]
    assert isinstance(outcome, NotReady)
    assert outcome.code == "readings_inconsistent"
    assert f"meter abb-B2x-00129728: {register} falls at 2026-0" in outcome.reason


def test_a_fall_outside_the_period_is_none_of_its_business(three_users: Database) -> None:
    run(
        three_users,
        "INSERT INTO readings SELECT meter_id, at + interval '15 minutes', 0, 0, 0, 0, 0, 0 FROM readings "
        "WHERE at = '2026-08-31T22:00:00Z'",
    )
    assert isinstance(outcomes(three_users, "user-012.2026-08.1")["user-012.2026-08.1"], Invoice)


def peak_of(invoice: Invoice | NotReady) -> str | None:
    assert isinstance(invoice, Invoice)
    items = [item for each in invoice.calculations for item in each.items]
    return next(str(item.max) for item in items if item.item == "usage_active_power_peak_t1")


def test_the_peak_is_taken_over_pairs_exactly_a_quarter_hour_apart(three_users: Database) -> None:
    before = peak_of(outcomes(three_users, "user-004.2026-08.1")["user-004.2026-08.1"])
    # without the readings around the highest quarter hour, the long step across the hole must not count as one
    as_superuser(
        three_users,
        "DELETE FROM readings WHERE meter_id = 'abb-B2x-00220651' AND at IN (SELECT at FROM (SELECT at, "
        "active_import_t1_wh - lag(active_import_t1_wh) OVER (ORDER BY at) AS step FROM readings "
        "WHERE meter_id = 'abb-B2x-00220651') AS steps ORDER BY step DESC NULLS LAST LIMIT 1)",
    )
    after = peak_of(outcomes(three_users, "user-004.2026-08.1")["user-004.2026-08.1"])
    assert before is not None
    assert after is not None
    assert float(after) <= float(before)


def test_prices_are_those_of_the_period_and_master_data_those_of_today(three_users: Database, tmp_path: Path) -> None:
    later = (BAD / "master.yaml").read_text("utf-8")
    fields = later.split("regulatory_catalogues:\n")[1].split("\nnetwork_user_catalogues")[0]
    dated = fields.replace('"13"', '"25"').replace("- id: hr-2026\n", '- id: hr-2026\n    valid_from: "{month}"\n')
    for month, tax in (("2026-09", "13"), ("2026-08", "25")):
        path = tmp_path / f"{month}.yaml"
        path.write_text("regulatory_catalogues:\n" + dated.format(month=month), "utf-8")
        load(three_users, path)
        invoice = outcomes(three_users, "user-012.2026-08.1")["user-012.2026-08.1"]
        assert isinstance(invoice, Invoice)
        assert invoice.tax_rate_percent == int(tax)
    run(three_users, "UPDATE network_users SET altibiz_sub_project_code = 'NEW' WHERE id = 'user-012'")
    invoice = outcomes(three_users, "user-012.2026-08.1")["user-012.2026-08.1"]
    assert isinstance(invoice, Invoice)
    assert invoice.sub_project_code == "NEW"


def test_a_catalogue_without_prices_yet_makes_only_its_users_wait(three_users: Database) -> None:
    run(three_users, "UPDATE network_user_catalogues SET valid_from = '2027-01' WHERE id = 'blue-low'")
    made = outcomes(three_users, "user-008.2026-08.1", "user-012.2026-08.1")
    assert isinstance(made["user-008.2026-08.1"], Invoice)
    waiting = cast(NotReady, made["user-012.2026-08.1"])
    assert waiting.code == "readings_incomplete"
    assert "catalogue blue-low has no prices in force" in waiting.reason


def test_a_user_without_measurement_location_and_one_unknown(three_users: Database) -> None:
    as_superuser(three_users, "DELETE FROM measurement_locations WHERE network_user = 'user-012'")
    assert isinstance(outcomes(three_users, "user-012.2026-08.1")["user-012.2026-08.1"], NotReady)
    with three_users.transaction() as connection, pytest.raises(LookupError, match=r"user-999\.2026-08\.1"):
        fetch_inputs(connection, ["user-012.2026-08.1", "user-999.2026-08.1"], ZAGREB)
    assert outcomes(three_users) == {}


def test_each_month_is_read_by_the_primary_key_and_no_other_month_is_touched(three_users: Database) -> None:
    with three_users.transaction() as connection:
        for number in range(1, 13):
            make_month(connection, Month(2025, number), "SELECT * FROM readings WHERE false")
        connection.execute(text("ANALYZE"))
        connection.execute(text("SET LOCAL enable_seqscan = off"))  # the table is small here; what could be is asked
        plan = connection.execute(
            text(f"EXPLAIN (FORMAT JSON) {INPUTS}"),
            {"network_user_ids": ["user-004"], "periods": ["2026-08"], "starts": ["2026-07-31T22:00Z"],
             "ends": ["2026-08-31T22:00Z"], "least_at": "2026-07-31T22:00Z", "most_at": "2026-08-31T22:00Z"},
        ).scalar_one()  # fmt: skip
    scans = nodes(plan[0]["Plan"], "readings_20")
    assert {scan["Relation Name"] for scan in scans} == {"readings_2026_07", "readings_2026_08"}
    assert len(scans) == 2 * 6
    assert all("meter_id" in scan.get("Index Cond", scan.get("Recheck Cond", "")) for scan in scans)


def nodes(plan: dict[str, Any], table: str) -> list[dict[str, Any]]:
    below = [node for child in plan.get("Plans", ()) for node in nodes(child, table)]
    return [*([plan] if plan.get("Relation Name", "").startswith(table) else []), *below]


def test_the_sample_is_what_its_files_say(database: Database) -> None:
    """The import adds nothing and loses nothing: what stands in the table is what stands in the file."""
    load(database, SAMPLE / "master.yaml", SAMPLE / "readings-2026-08.csv.gz")
    with gzip.open(SAMPLE / "readings-2026-08.csv.gz", "rt", encoding="utf-8") as file:
        wanted = {(row[0], row[1], *map(int, row[2:])) for row in list(csv.reader(file))[1:]}
    with database.transaction() as connection:
        rows = connection.execute(text("SELECT * FROM readings")).all()
    assert {(row[0], row[1].strftime("%Y-%m-%dT%H:%M:%SZ"), *row[2:]) for row in rows} == wanted
