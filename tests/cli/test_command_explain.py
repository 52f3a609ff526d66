"""`billingd invoices explain`, `show --html` and `retry` by code and period, on invoices with real readings."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sqlalchemy import text

from persistence.connection.database import Database
from persistence.invoices import held_invoices
from tests.cli.command_line import Commands
from tests.support.billed_months import AUGUST, calculate_august
from tests.support.invoice_rows import add_invoices, add_users

FIRST = AUGUST[0]


@pytest.fixture
def billingd(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands.on(database_url, tmp_path, capsys)


@pytest.fixture
def calculated(database: Database) -> Database:
    calculate_august(database)
    return database


def change_document(database: Database, sql: str) -> None:
    with database.transaction() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"UPDATE invoice_documents SET {sql} WHERE invoice_id = '{FIRST}'"))


def test_each_item_line_and_total_is_explained_and_agrees(calculated: Database, billingd: Commands) -> None:
    (invoice,) = billingd("invoices", "show", "--json", FIRST).document
    done = billingd("invoices", "explain", FIRST)
    assert (done.status, done.err) == (0, "")
    assert "!!" not in done.out
    for calculation in invoice["calculations"]:
        for item in calculation["items"]:
            assert f"{item['amount']} × {item['price_eur']} EUR = " in done.out
            assert f"= {item['total_eur']} EUR" in done.out
    for line in invoice["lines"]:
        assert re.search(rf"{re.escape(line['ordinal'])} .* = {line['price_eur']} EUR\n", done.out)
    assert f"= {invoice['total_with_tax_eur']} EUR\n" in done.out
    assert re.search(r"the highest quarter hour of 2976 \(2026-08-\S+Z to 2026-08-\S+Z\): 4 × ", done.out)


def test_an_explanation_that_does_not_lead_to_what_is_stored_says_so(calculated: Database, billingd: Commands) -> None:
    change_document(calculated, "lines = jsonb_set(lines, '{6,price_eur}', '\"1.00\"')")
    marked = [line for line in billingd("invoices", "explain", FIRST).out.splitlines() if "!!" in line]
    assert [line.split()[0] for line in marked] == ["2.1.", "Total:", "Tax:", "To"]


def test_what_is_not_calculated_has_no_explanation(calculated: Database, billingd: Commands) -> None:
    billingd("issue", "--period", "2026-09")
    done = billingd("invoices", "explain", "user-004.2026-09.1")
    assert (done.status, done.err) == (1, "user-004.2026-09.1: it is due, and nothing of it is calculated\n")
    assert billingd("invoices", "explain", "nobody.2026-09.1").status == 1


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_to_print_shows_the_invoice_and_what_others_wrote_as_text(
    calculated: Database, billingd: Commands, tmp_path: Path
) -> None:
    with calculated.transaction() as connection:
        connection.execute(
            text("""UPDATE invoices SET state = 'aborted', ended_by = 'erp', abort_reason = '<script>alert(1)</script>'
                    WHERE id = :id"""),
            {"id": FIRST},
        )
    (invoice,) = billingd("invoices", "show", "--json", FIRST).document
    path = tmp_path / "invoice.html"
    done = billingd("invoices", "show", "--html", path, *AUGUST[:2])
    assert (done.status, done.out, done.err) == (0, "", "")
    page = Tags(path.read_text("utf-8"))
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text
    assert page.tags.count("article") == 2
    for line in invoice["lines"]:
        assert line["name"] in page.text
    assert f"Za platiti{invoice['total_with_tax_eur']} EUR" in page.text
    assert billingd("invoices", "show", "--html", tmp_path / "no" / "x.html", FIRST).status == 1


def test_a_retry_by_code_and_period_can_be_tried_first(database: Database, billingd: Commands) -> None:
    with database.transaction() as connection:
        add_users(connection, 3)
        for number, (code, period) in enumerate(
            [("erp_conflict", "2026-09"), ("erp_conflict", "2026-10"), ("poison_invoice", "2026-10")], 1
        ):
            users = range(number, number + 1)
            add_invoices(connection, "held", users, period=period, held_code=code, reason="x")

    def held() -> list[str]:
        with database.transaction() as connection:
            return held_invoices.held_ids(connection)

    done = billingd("invoices", "retry", "--code", "erp_conflict", "--period", "2026-10", "--dry-run")
    assert (done.status, done.out) == (0, "NU-0002.2026-10.1: would go on\n")
    assert len(held()) == 3
    assert billingd("invoices", "retry", "--code", "erp_conflict", "--period", "2026-10").status == 0
    assert held() == ["NU-0001.2026-09.1", "NU-0003.2026-10.1"]
    assert billingd("invoices", "retry", "--period", "2026-10").out == "NU-0003.2026-10.1: goes on\n"
    assert billingd("invoices", "retry", "--code", "erp_error").err == "no invoice is held that is asked for\n"
    assert billingd("invoices", "retry", "--code", "x", "NU-0001.2026-09.1").status == 64
