"""`billingd invoices`: the list, the whole invoice as people and programs see it, and the retry of held ones."""

from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text

from persistence.connection.database import ConnectionSettings, Database
from persistence.invoices import due_invoices
from persistence.invoices.listing import Filter, list_invoices
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from tests.cli.command_line import Commands
from tests.support.calculated_rows import calculate_due
from tests.support.invoice_rows import add_invoices, add_users
from tests.support.sample import BAD

INVOICE = "user-004.2026-08.1"
KEYS = (
    "id network_user_id period revision state bill_id abort_reason held_code held_reason total_eur tax_rate_percent "
    "tax_eur total_with_tax_eur invoice_date attempts next_attempt_at created_at updated_at"
)


@pytest.fixture
def billingd(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands.on(database_url, tmp_path, capsys)


@pytest.fixture
def calculated(database: Database) -> Database:
    """Three users: their invoices of August are calculated, those of September due."""
    with database.transaction() as connection:
        import_master(connection, BAD / "master.yaml")
    with database.transaction() as connection:
        import_readings(connection, BAD / "readings-2026-08.csv.gz")
        due_invoices.make_due(connection, "test", ["2026-08"], reason="test")
    assert len(calculate_due(database)) == 3
    with database.transaction() as connection:
        due_invoices.make_due(connection, "test", ["2026-09"], reason="test")
    return database


@pytest.fixture
def held(database: Database) -> Database:
    """Two held invoices and one that is due."""
    with database.transaction() as connection:
        add_users(connection, 3)
        add_invoices(connection, "held", range(1, 3), held_code="erp_refused_invoice", reason="400: no such code")
        add_invoices(connection, "due", range(3, 4))
    return database


def states(database: Database) -> dict[str, str]:
    with database.reading() as reader:
        return {each["id"]: each["state"] for each in list_invoices(reader, Filter())}


def test_the_list_has_all_of_them_in_order_with_the_keys_promised(calculated: Database, billingd: Commands) -> None:
    done = billingd("invoices", "list", "--json")
    assert (done.status, done.err) == (0, "")
    assert [each["id"] for each in done.document] == [
        f"user-{user}.{period}.1" for period in ("2026-08", "2026-09") for user in ("004", "008", "012")
    ]
    first = done.document[0]
    assert " ".join(first) == KEYS
    assert (first["state"], first["total_with_tax_eur"], first["tax_rate_percent"]) == ("calculated", "2371.06", "13")
    assert first["invoice_date"] == "2026-09-01"
    assert first["created_at"].endswith("Z")
    assert done.document[-1]["total_eur"] is None


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (["--period", "2026-08"], 3),
        (["--state", "due"], 3),
        (["--network-user", "user-004"], 2),
        (["--network-user", "user-004", "--state", "due", "--period", "2026-08"], 0),
    ],
)
def test_the_list_can_be_narrowed(calculated: Database, billingd: Commands, arguments: list[str], number: int) -> None:
    done = billingd("invoices", "list", *arguments)
    assert done.status == 0
    assert len(done.out.splitlines()) == (number + 1 if number else 0)
    assert done.err == f"{number} invoices\n"


@pytest.mark.parametrize("arguments", [["--state", "lost"], ["--period", "August"]])
def test_a_filter_that_can_match_nothing_is_a_wrong_use(billingd: Commands, arguments: list[str]) -> None:
    assert billingd("invoices", "list", *arguments).status == 64


def test_the_list_says_what_to_do_about_each_code(held: Database, billingd: Commands) -> None:
    done = billingd("invoices", "list", "--code", "erp_refused_invoice")
    assert [line.split()[1] for line in done.out.splitlines()] == ["state", "held", "held"]
    assert done.err.splitlines() == [
        "2 invoices", "2 erp_refused_invoice: `billingd alarms explain erp_refused_invoice` says what to do"
    ]  # fmt: skip


def test_the_list_is_a_table_in_which_nothing_foreign_makes_lines_or_steers(held: Database, billingd: Commands) -> None:
    with held.transaction() as connection:
        connection.execute(
            text(
                "UPDATE invoices SET held_reason = :reason, next_attempt_at = '2026-11-15 12:30Z' WHERE state = 'held'"
            ),
            {"reason": "no\nuser-9 100%s \\1 \x1b[31m\u2028č"},
        )
    done = billingd("invoices", "list")
    lines = done.out.splitlines()
    assert len(lines) == 4
    assert [line.index("held") for line in lines[1:3]] == [lines[0].index("state")] * 2
    assert [line.index("2026-11-15 12:30:00Z") for line in lines[1:3]] == [lines[0].index("next try")] * 2
    assert lines[1].endswith("erp_refused_invoice: no user-9 100%s \\1 \\x1b[31m č")
    assert lines[3].split()[1:] == ["due", "-", "-", "-", "-"]


def test_a_whole_invoice_is_drawn_for_people(calculated: Database, billingd: Commands) -> None:
    done = billingd("invoices", "show", INVOICE)
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[1].startswith(f"INVOICE {INVOICE}")
    assert lines[1].endswith("calculated")
    assert [line.split()[0] for line in lines if line[:2] in ("1.", "2.")] == [
        "1.1.", "1.2.", "1.3.", "1.4.", "1.5.", "1.6.", "2.1.", "2.2.", "2.3.", "2.4.",
    ]  # fmt: skip
    (to_pay,) = [line.split() for line in lines if line.startswith("To pay")]
    assert to_pay == ["To", "pay", "2371.06"]
    assert any(line.split() == ["Tax", "13", "%", "272.78"] for line in lines)
    assert sum(line.startswith("Measurement location ") for line in lines) == 2
    assert any("calculated" in line and "here#1" in line for line in lines)


def test_what_an_offer_sends_is_printed_as_it_is_stored(calculated: Database, billingd: Commands) -> None:
    with calculated.transaction() as connection:
        query = text("SELECT body FROM invoice_documents WHERE invoice_id = :id")
        body = bytes(connection.execute(query, {"id": INVOICE}).scalar_one())
    assert billingd("invoices", "show", "--body", INVOICE).out.encode() == body + b"\n"
    assert billingd("invoices", "show", "--body", "--json", INVOICE).status == 64


def test_a_whole_invoice_as_json_has_decimals_as_strings_and_sums_up(calculated: Database, billingd: Commands) -> None:
    (invoice,) = billingd("invoices", "show", "--json", INVOICE).document
    assert " ".join(invoice) == f"{KEYS} lines calculations history exchanges remarks"
    assert all(set(each) == {"ordinal", "name", "unit", "quantity", "price_eur"} for each in invoice["lines"])
    assert {each["quantity"] for each in invoice["lines"]} == {"1"}
    assert sum(Decimal(each["price_eur"]) for each in invoice["lines"]) == Decimal(invoice["total_eur"])
    for calculation in invoice["calculations"]:
        assert set(calculation) == {"measurement_location_id", "meter_id", "catalogue_kind", "items"}
        for item in calculation["items"]:
            assert set(item) == {"item", "min", "max", "amount", "price_eur", "total_eur"}
            assert all(value is None or isinstance(value, str) for value in item.values())
    assert [(each["from_state"], each["to_state"]) for each in invoice["history"]] == [
        (None, "due"),
        ("due", "calculated"),
    ]
    assert set(invoice["history"][0]) == {"at", "from_state", "to_state", "actor", "reason"}


def test_an_unknown_id_is_named_and_the_others_are_shown(calculated: Database, billingd: Commands) -> None:
    done = billingd("invoices", "show", "--json", "nobody.2026-08.1", INVOICE)
    assert (done.status, done.err) == (1, "nobody.2026-08.1: there is no such invoice\n")
    assert [each["id"] for each in done.document] == [INVOICE]


def test_a_retry_puts_back_what_is_held_and_names_what_is_not(
    held: Database, database_url: str, billingd: Commands
) -> None:
    one, two, due = sorted(states(held))
    with Database(ConnectionSettings.from_url(database_url), listen=True) as daemon:
        daemon.notifications()
        done = billingd("invoices", "retry", one, due, "nobody.2026-10.1", "--reason", "code mended")
        assert daemon.notifications(wait_seconds=5) == ["retry"]
    assert (done.status, done.out) == (1, f"{one}: goes on\n")
    assert done.err.splitlines() == [
        f"{due}: it is not held, it is due",
        "nobody.2026-10.1: there is no such invoice",
    ]
    assert states(held)[two] == "held"
    (shown,) = billingd("invoices", "show", "--json", one).document
    assert shown["state"] != "held"
    assert shown["held_code"] is None
    assert shown["history"][-1]["reason"] == "code mended"
    assert shown["history"][-1]["actor"].startswith("cli:")


def test_all_held_ones_are_retried_at_once_and_no_reason_is_none_given(held: Database, billingd: Commands) -> None:
    done = billingd.process("invoices", "retry", "--all-held")
    assert (done.status, done.err) == (0, "")
    assert len(done.out.splitlines()) == 2
    assert "held" not in states(held).values()
    (shown,) = billingd("invoices", "show", "--json", done.out.split(":")[0]).document
    assert shown["history"][-1]["reason"] == "none given"
    assert billingd("invoices", "retry", "--all-held").err == "no invoice is held\n"


@pytest.mark.parametrize("arguments", [[], ["--all-held", INVOICE]])
def test_a_retry_of_nothing_or_of_both_is_a_wrong_use(billingd: Commands, arguments: list[str]) -> None:
    assert billingd("invoices", "retry", *arguments).status == 64


def test_on_a_terminal_the_reason_is_asked_for(held: Database, billingd: Commands) -> None:
    done = billingd.on_terminal("invoices", "retry", "--all-held", typed="called the ERP\n")
    assert (done.status, len(done.out.splitlines())) == (0, 2)
    assert "Reason [none given]:" in done.err
    (shown,) = billingd("invoices", "show", "--json", done.out.split(":")[0]).document
    assert shown["history"][-1]["reason"] == "called the ERP"
