"""`billingd verify`: every kind of tampering is found and named, and what was done in order is told from it."""

import gzip
import itertools
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import text

from altibiz.fake.server import FakeAltibiz
from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.errors import PersistenceError
from persistence.invoices import audit
from testkit.postgres import PostgresServer
from tests.cli.command_line import Commands
from tests.support.billed_months import AUGUST, book, calculate_august
from tests.support.sample import BAD

FIRST, SECOND, THIRD = AUGUST
_numbers = itertools.count(1)
METER = "(SELECT calculations->0->>'meter_id' FROM invoice_documents WHERE invoice_id = :id)"
DAY = "'2026-08-10T10:00:00Z'"
END = "'2026-08-31T22:00:00Z'"


@pytest.fixture
def billingd(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands.on(database_url, tmp_path, capsys)


@pytest.fixture(scope="module")
def template(shared_server: PostgresServer) -> Iterator[str]:
    """The name of a database with three registered invoices, and a root over their trails."""
    name = "booked_to_be_verified"
    with Database(ConnectionSettings.from_url(shared_server.create_database(name))) as database:
        with FakeAltibiz() as erp:
            calculate_august(database)
            book(database, erp)
        make_root(database, date(2026, 11, 15))
    yield name
    shared_server.drop_database(name)


@pytest.fixture
def database_url(template: str, shared_server: PostgresServer) -> Iterator[str]:
    """The URL of a copy of it."""
    copy = f"copy_{next(_numbers)}_of_booked"
    with Database(shared_server.settings("postgres")) as maintenance:
        maintenance.run_alone(f"CREATE DATABASE {copy} TEMPLATE {template}")
    yield shared_server.url(copy)
    shared_server.drop_database(copy)


@pytest.fixture
def booked(database: Database) -> Database:
    return database


def make_root(database: Database, day: date) -> None:
    with database.transaction() as connection:
        position = audit.settled_position(connection)
    with database.transaction() as connection:
        assert audit.make_root(connection, day, position) is not None


def tamper(database: Database, *statements: str) -> None:
    """Changes rows as somebody does who owns the server: no trigger fires."""
    with database.transaction() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for sql in statements:
            connection.execute(text(sql.replace(":id", f"'{FIRST}'")))


def test_what_was_not_touched_is_intact(booked: Database, billingd: Commands) -> None:
    done = billingd("verify", "--json")
    assert (done.status, done.err) == (0, "")
    document = done.document
    assert (document["intact"], document["verified"], document["findings"]) == (True, 3, [])
    assert document["replaced"] == document["not_verifiable"] == []
    assert document["root"]["invoices"] == 3
    shown = billingd("verify", "--period", "2026-08")
    assert (shown.status, shown.out) == (0, "")
    assert shown.err.endswith("3 invoices verified: nothing was changed\n")
    assert document["root"]["sha256"] in shown.err


PEAK = f"""UPDATE readings r SET active_import_t1_wh = active_import_t1_wh + 5, active_import_total_wh =
        active_import_total_wh + 5 WHERE meter_id = {METER} AND at = (
            SELECT at FROM (SELECT at, active_import_t1_wh - lag(active_import_t1_wh) OVER (ORDER BY at) AS step
                FROM readings WHERE meter_id = {METER}) s WHERE step IS NOT NULL ORDER BY step DESC LIMIT 1)"""


@pytest.mark.parametrize(
    ("kind", "words", "statements"),
    [
        ("line", "line 2.1.", ["UPDATE invoice_documents SET lines = jsonb_set(lines, '{6,price_eur}', '\"1.00\"')"]),
        ("total", "total_eur", ["UPDATE invoices SET total_eur = 1, total_with_tax_eur = 1 + tax_eur"]),
        ("total", "tax_eur", ["UPDATE invoices SET tax_eur = 1, total_with_tax_eur = 1 + total_eur"]),
        ("body", "bytes", ["UPDATE invoice_documents SET body = body || ' '"]),
        (
            "calculation", "total_eur is",
            ["UPDATE invoice_documents SET calculations = jsonb_set(calculations, '{0,items,0,price_eur}', '\"9\"')"],
        ),
        (
            "document", "was changed",
            ["UPDATE invoice_documents SET snapshot = jsonb_set(snapshot, '{network_user,title}', '\"x\"')"],
        ),
        (
            "document", "was changed",
            ["UPDATE invoice_documents SET snapshot = jsonb_set(snapshot, '{regulatory_catalogue,id}', '\"x\"')"],
        ),
        ("document", "is missing", ["DELETE FROM invoice_documents"]),
        ("reading", "2026-08-31T22:00:00Z", [
            f"UPDATE readings SET active_import_t1_wh = active_import_t1_wh + 1 WHERE meter_id = {METER} AND at = {END}"
        ]),
        ("reading", "highest quarter hour", [PEAK]),
        ("reading", "within the period", [
            f"UPDATE readings SET active_import_t1_wh = active_import_t1_wh + 1"
            f" WHERE meter_id = {METER} AND at = {DAY}"
        ]),
        ("reading", "quarter hours", [f"DELETE FROM readings WHERE meter_id = {METER} AND at = {DAY}"]),
        ("reading", "falls", [
            f"UPDATE readings SET reactive_export_total_varh = 0 WHERE meter_id = {METER} AND at = {DAY}"
        ]),
        ("history", "missing before step 3", ["DELETE FROM invoice_history WHERE seq = 2 AND invoice_id = :id"]),
        ("history", "steps instead of 4", ["DELETE FROM invoice_history WHERE seq = 4 AND invoice_id = :id"]),
        ("history", "was changed", ["UPDATE invoice_history SET reason = 'x' WHERE seq = 2 AND invoice_id = :id"]),
        ("history", "was changed", ["UPDATE invoice_history SET actor = 'x' WHERE seq = 4 AND invoice_id = :id"]),
        ("history", "does not begin", [
            "UPDATE invoice_history SET seq = 9 WHERE seq = 2 AND invoice_id = :id",
            "UPDATE invoice_history SET seq = 2 WHERE seq = 3 AND invoice_id = :id",
            "UPDATE invoice_history SET seq = 3 WHERE seq = 9 AND invoice_id = :id",
        ]),
        ("history", "by its history registered", [
            "UPDATE invoices SET state = 'aborted', ended_by = 'erp', bill_id = NULL, abort_reason = 'x' WHERE id = :id"
        ]),
    ],
)  # fmt: skip
def test_each_tampering_is_found_and_named(
    booked: Database, billingd: Commands, kind: str, words: str, statements: list[str]
) -> None:
    key = "id" if "UPDATE invoices " in statements[0] else "invoice_id"
    tamper(booked, *(sql if "WHERE" in sql else f"{sql} WHERE {key} = :id" for sql in statements))
    done = billingd("verify", "--json")
    assert done.status == 1
    found = done.document["findings"]
    assert {each["id"] for each in found} <= {FIRST, "-"}
    assert [each for each in found if each["kind"] == kind and words in each["what"]], found


def test_a_change_with_all_its_hashes_made_again_is_found_by_the_days_root(
    booked: Database, billingd: Commands
) -> None:
    make_root(booked, date(2026, 11, 16))
    tamper(
        booked,
        "UPDATE invoice_history SET reason = 'x' WHERE seq = 4 AND invoice_id = :id",
        """UPDATE invoice_history h SET hash = history_hash((SELECT hash FROM invoice_history
           WHERE invoice_id = :id AND seq = 3), h) WHERE seq = 4 AND invoice_id = :id""",
    )
    (finding,) = billingd("verify", "--json").document["findings"]
    assert (finding["id"], finding["kind"]) == ("-", "root")
    assert "the root of 2026-11-15" in finding["what"]
    assert "2 of 2 roots" in finding["what"]


def test_a_trail_that_goes_on_after_the_root_still_holds(booked: Database, billingd: Commands) -> None:
    billingd("issue", "--period", "2026-09")
    assert billingd("verify").status == 0
    make_root(booked, date(2026, 11, 17))
    assert billingd("verify").status == 0


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["UPDATE audit_roots SET root = sha256('x') WHERE day = '2026-11-16'"], "the root of 2026-11-16"),
        (["UPDATE audit_roots SET invoices = 4 WHERE day = '2026-11-15'"], "the root of 2026-11-15"),
        (["DELETE FROM audit_roots WHERE day = '2026-11-15'"], "the root of 2026-11-16"),
        (["DELETE FROM audit_roots WHERE day = '2026-11-16'", "UPDATE audit_roots SET ordinal = 2 WHERE ordinal = 3"],
         "the root of 2026-11-17"),
    ],
)  # fmt: skip
def test_each_root_is_checked_and_none_can_be_taken_out(
    booked: Database, billingd: Commands, statements: list[str], words: str
) -> None:
    make_root(booked, date(2026, 11, 16))
    make_root(booked, date(2026, 11, 17))
    assert billingd("verify", "--json").document["roots"] == 3
    tamper(booked, *statements)
    (finding,) = billingd("verify", "--json").document["findings"]
    assert words in finding["what"]


def test_an_empty_table_of_roots_is_found(booked: Database, billingd: Commands) -> None:
    make_root(booked, date(2026, 11, 16))
    ago = "UPDATE invoice_history SET at = at - interval '3 days'"
    again = """UPDATE invoice_history h SET hash = history_hash((SELECT hash FROM invoice_history b
        WHERE b.invoice_id = h.invoice_id AND b.seq = h.seq - 1), h) WHERE seq = """
    tamper(booked, ago, *(again + str(seq) for seq in range(1, 5)), "DELETE FROM audit_roots")
    (finding,) = billingd("verify", "--json").document["findings"]
    assert (finding["kind"], "has a root" in finding["what"]) == ("root", True)
    make_root(booked, date(2027, 1, 1))
    assert billingd("verify").status == 1


def test_history_rewritten_with_all_roots_is_found_by_one_that_was_kept_elsewhere(
    booked: Database, billingd: Commands
) -> None:
    kept = billingd("verify", "--json").document["root"]["sha256"]
    assert billingd("verify", "--root", f"2026-11-15={kept.upper()}").status == 0
    tamper(
        booked,
        "UPDATE invoice_history SET reason = 'x' WHERE seq = 4 AND invoice_id = :id",
        """UPDATE invoice_history h SET hash = history_hash((SELECT hash FROM invoice_history
           WHERE invoice_id = :id AND seq = 3), h) WHERE seq = 4 AND invoice_id = :id""",
        "DELETE FROM audit_roots",
    )
    make_root(booked, date(2026, 11, 15))
    assert billingd("verify").status == 0
    for known, words in ((f"2026-11-15={kept}", "was rewritten"), (f"2026-11-14={kept}", "there is no root")):
        done = billingd("verify", "--root", known)
        assert (done.status, words in done.out) == (1, True), done.out
    assert billingd("verify", "--root", "2026-11-15=abc").status == 64


def test_a_root_dated_in_the_future_does_not_stop_the_next_ones(booked: Database, billingd: Commands) -> None:
    make_root(booked, date(2031, 1, 1))
    with booked.transaction() as connection:
        today = audit.day_without_root(connection)
    assert today is not None
    make_root(booked, today)
    assert billingd("verify").status == 0


@pytest.mark.parametrize("table", ["invoices", "invoice_history", "invoice_documents", "audit_roots"])
def test_no_table_of_the_proof_can_be_emptied_at_once(booked: Database, table: str) -> None:
    with pytest.raises(PersistenceError, match="written once"), booked.transaction() as connection:
        connection.execute(text(f"TRUNCATE {table} CASCADE"))


def test_readings_replaced_in_order_are_told_from_tampered_ones(
    booked: Database, billingd: Commands, tmp_path: Path
) -> None:
    with gzip.open(BAD / "readings-2026-08.csv.gz", "rt") as file:
        header, *rows = file.read().splitlines()
    (invoice,) = billingd("invoices", "show", "--json", FIRST).document
    meter = invoice["calculations"][0]["meter_id"]
    row = next(each for each in rows if each.startswith(f"{meter},2026-08-31T22:00:00"))
    _, at, total, t1, *rest = row.split(",")
    changed = ",".join([meter, at, str(int(total) + 1000), str(int(t1) + 1000), *rest])
    (tmp_path / "again.csv").write_text(f"{header}\n{changed}\n")
    assert billingd("import", "readings", "--replace", "--reason", "misread", tmp_path / "again.csv").status == 0
    done = billingd("verify", "--json")
    assert (done.status, done.document["findings"]) == (0, [])
    (replaced,) = done.document["replaced"]
    assert replaced["id"] == FIRST
    assert replaced["what"].endswith(": misread")
    tamper(booked, "UPDATE readings_replaced SET active_import_t1_wh = active_import_t1_wh + 1")
    (finding,) = billingd("verify", "--json").document["findings"]
    assert (finding["id"], finding["kind"]) == (FIRST, "reading")


def test_what_has_no_readings_any_more_is_not_verifiable(booked: Database, billingd: Commands) -> None:
    tamper(booked, f"DELETE FROM readings WHERE meter_id = {METER}")
    done = billingd("verify", "--json")
    assert (done.status, done.document["findings"]) == (0, [])
    assert [each["id"] for each in done.document["not_verifiable"]] == [FIRST]


def test_a_correction_is_verified_against_what_it_corrects(
    booked: Database, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeAltibiz() as erp:
        for number in range(1, 4):  # the bill ids that are given already
            erp.fake.ledger.book(f"user-001.2026-0{number}.1", {"total_with_tax_eur": "1.00"})
        billingd = Commands.on(database_url, tmp_path, capsys, erp={"base_url": erp.base_url})
        with booked.transaction() as connection:
            connection.execute(text("UPDATE network_user_catalogues SET meter_fee = meter_fee + 1"))
        assert billingd("invoices", "correct", FIRST).status == 0
        book(booked, erp)
    assert "!!" not in billingd("invoices", "explain", "user-004.2026-08.2").out
    done = billingd("verify", "--json")
    assert (done.status, done.document["verified"]) == (0, 4), done.document
