"""`billingd reconcile`: each planted difference is found, in thousands of bookings, and the report adds up."""

import csv
import hashlib
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import Connection, text

from altibiz.client import AltibizClient
from altibiz.fake.ledger import Ledger
from altibiz.fake.server import FakeAltibiz
from altibiz.outcomes import Page
from billing.erp_answers import Booking, Outcome
from cli.invocation import CommandFailed
from cli.reconcile import ReconciliationResult, compare_bookings
from persistence.connection.database import Database
from persistence.invoices.listing import Filter, list_invoices
from tests.cli.command_line import Commands
from tests.support.billed_months import AUGUST, book, calculate_august
from tests.support.invoice_rows import add_invoices, add_users

FIRST, SECOND, THIRD = AUGUST


@pytest.fixture
def erp() -> Iterator[FakeAltibiz]:
    with FakeAltibiz() as erp:
        yield erp


@pytest.fixture
def billingd(database_url: str, erp: FakeAltibiz, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands.on(database_url, tmp_path, capsys, erp={"base_url": erp.base_url})


@pytest.fixture
def booked(database: Database, erp: FakeAltibiz) -> Database:
    calculate_august(database)
    book(database, erp)
    return database


def plant(connection: Connection, sql: str) -> None:
    """Changes rows behind everybody's back."""
    connection.execute(text("SET LOCAL session_replication_role = replica"))
    connection.execute(text(sql))


def test_what_agrees_is_equal(booked: Database, billingd: Commands) -> None:
    done = billingd("reconcile", "--json")
    assert (done.status, done.err) == (0, "")
    assert done.document == {"equal": True, "compared": 3, "open": [], "differences": []}
    assert billingd("reconcile").err == "3 compared: no difference\n"
    assert billingd("reconcile", "--period", "2026-09", "--json").document["compared"] == 0


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("UPDATE invoices SET bill_id = 'ALT-9' WHERE id = :id", {"kind": "bill_id", "ours": "ALT-9"}),
        (
            "UPDATE invoices SET state = 'aborted', ended_by = 'erp', bill_id = NULL, abort_reason = '' WHERE id = :id",
            {"kind": "state", "ours": "aborted", "theirs": "registered"},
        ),
        (
            "UPDATE invoices SET total_eur = total_eur + 1, total_with_tax_eur = total_with_tax_eur + 1 WHERE id = :id",
            {"kind": "amount", "ours": "2372.06", "theirs": "2371.06"},
        ),
        ("DELETE FROM invoices WHERE id = :id", {"kind": "missing_here", "ours": None}),
    ],
)
def test_each_planted_difference_is_found(
    booked: Database, billingd: Commands, sql: str, found: dict[str, str]
) -> None:
    with booked.transaction() as connection:
        connection.execute(text("UPDATE invoices SET updated_at = now() - interval '1 h'"))
        plant(connection, sql.replace(":id", f"'{FIRST}'"))
    done = billingd("reconcile", "--json", "--period", "2026-08")
    assert done.status == 1
    assert not done.document["equal"]
    (difference,) = done.document["differences"]
    assert difference["id"] == FIRST
    assert difference | found == difference
    shown = billingd("reconcile")
    assert shown.status == 1
    assert shown.out.splitlines()[1].startswith(FIRST)


def test_what_the_erp_lost_or_booked_twice_is_found(booked: Database, erp: FakeAltibiz, billingd: Commands) -> None:
    ledger = erp.fake.ledger
    lost = ledger._entries.pop(0)
    doubled = ledger.all()[0]
    ledger.book(doubled.invoice_id, doubled.body)
    found = {(each["id"], each["kind"]): each for each in billingd("reconcile", "--json").document["differences"]}
    assert set(found) == {(lost.invoice_id, "missing_there"), (doubled.invoice_id, "doubled")}
    assert found[doubled.invoice_id, "doubled"]["theirs"].count("ALT-") == 2


def test_an_erp_that_does_not_answer_is_no_difference(booked: Database, erp: FakeAltibiz, billingd: Commands) -> None:
    erp.stop()
    done = billingd("reconcile")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("the ERP can't be asked for its bookings (unreachable")


def test_ten_thousand_are_compared_in_time_and_with_level_memory(
    database: Database, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = 9_999  # and one booking that is nobody's
    with database.transaction() as connection:
        add_users(connection, number)
        add_invoices(connection, "registered", range(1, number), period="2026-10")
        add_invoices(connection, "sent", range(number, number + 1), period="2026-10")
        connection.execute(
            text("""UPDATE invoices SET updated_at = now() - interval '1 h', bill_id = CASE
                    WHEN state = 'registered' THEN 'ALT-' || lpad(substr(network_user_id, 4), 6, '0') END""")
        )
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, lambda: datetime(2026, 11, 15, tzinfo=UTC))
    for n in range(1, number):
        ledger.book(f"NU-{n:04d}.2026-10.1", {"total_with_tax_eur": "125.00"})
    ledger.close()
    path.write_text(path.read_text().replace('"id": "NU-0777.2026-10.1"', '"id": "NU-0777.2025-10.1"'))
    with FakeAltibiz(ledger_path=path) as erp:
        billingd = Commands.on(database_url, tmp_path, capsys, erp={"base_url": erp.base_url})
        billingd("reconcile", "--period", "2020-01")  # what is loaded once is not counted
        begun = time.monotonic()
        done = billingd("reconcile", "--json")
        seconds = time.monotonic() - begun
        tracemalloc.start()
        billingd("reconcile", "--json")
        peak_mib = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
    print(f"{number} invoices: {seconds:.1f} s, at most {peak_mib:.1f} MiB")
    document = done.document
    assert document["compared"] == number + 1
    assert document["open"] == [f"NU-{number}.2026-10.1"]
    assert [(each["id"], each["kind"]) for each in document["differences"]] == [
        ("NU-0777.2025-10.1", "missing_here"),
        ("NU-0777.2026-10.1", "missing_there"),
    ]
    assert seconds < 30
    assert peak_mib < 12, "a page at a time, the ERP's own pages included"


def test_the_months_report_adds_up_and_proves_itself(
    booked: Database, erp: FakeAltibiz, billingd: Commands, tmp_path: Path
) -> None:
    erp.fake.ledger._entries[0].body["total_with_tax_eur"] = "1.00"
    erp.fake.ledger._entries[1].settled = False
    erp.fake.ledger.settle(erp.fake.ledger._entries[1], "aborted", "<b>no</b>")
    as_csv, as_html = tmp_path / "month.csv", tmp_path / "month.html"
    done = billingd("reconcile", "--period", "2026-08", "--csv", as_csv, "--html", as_html)
    assert done.status == 1
    for path in (as_csv, as_html):
        *lines, last = path.read_text("utf-8").splitlines(keepends=True)
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()
        assert digest in last
        assert f"{path}: written, SHA-256 {digest}" in done.err
    rows = list(csv.DictReader(as_csv.read_text("utf-8").splitlines()[:-1]))
    invoices = [row for row in rows if row["row"] == "invoice"]
    assert [row["invoice"] for row in invoices] == list(AUGUST)
    (everything,) = [row for row in rows if row["row"] == "all"]
    for column in ("total_eur", "tax_eur", "total_with_tax_eur"):
        total = sum(Decimal(row[column]) for row in invoices)
        assert Decimal(everything[column]) == total
        assert sum(Decimal(row[column]) for row in rows if row["row"] == "location") == total
    lines_of_all = [row for row in rows if row["row"] == "line" and not row["location"]]
    assert len(lines_of_all) == 10
    assert sum(Decimal(row["total_eur"]) for row in lines_of_all) == Decimal(everything["total_eur"])
    assert {row["difference"] for row in rows if row["row"] == "difference"} == {"amount", "state"}
    assert "<b>" not in as_html.read_text("utf-8")


def test_a_report_without_a_month_is_a_wrong_use(billingd: Commands, tmp_path: Path) -> None:
    assert billingd("reconcile", "--csv", tmp_path / "x.csv").status == 64


class Pages:
    """An ERP's answers to `page`, by the cursor that is asked for."""

    def __init__(self, answers: dict[str | None, Page]) -> None:
        self.answers, self.asked = answers, list[str | None]()

    def page(self, after: str | None = None) -> Page:
        self.asked.append(after)
        return self.answers[after]

    def ask(self, invoice_id: str, total: Decimal | None) -> Outcome:
        raise AssertionError(f"{invoice_id} does not move")


def compare_with(database: Database, answers: dict[str | None, Page]) -> ReconciliationResult:
    return compare_bookings(database, cast("AltibizClient", Pages(answers)), None)


def test_an_empty_page_with_a_next_is_followed(booked: Database) -> None:
    with booked.reading() as reader:
        ours = [Booking(each["id"], each["state"], each["bill_id"], None, Decimal(str(each["total_with_tax_eur"])))
                for each in list_invoices(reader, Filter())]  # fmt: skip
    hidden = {
        None: Page((), "a"),
        "a": Page(tuple(ours[:1]), "b"),
        "b": Page((), "c"),
        "c": Page(tuple(ours[1:]), None),
    }
    result = compare_with(booked, hidden)
    assert (result.compared, result.differences) == (3, [])


@pytest.mark.parametrize("circle", [{None: "a", "a": "a"}, {None: "a", "a": "b", "b": "a"}])
def test_a_circle_is_noticed_by_its_cursor(booked: Database, circle: dict[str | None, str]) -> None:
    with pytest.raises(CommandFailed, match="in a circle after a"):
        compare_with(booked, {after: Page((), following) for after, following in circle.items()})
