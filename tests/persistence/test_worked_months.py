"""The worked months of tests/data/months: each comes out as computed by hand, and explains itself."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from altibiz.fake.server import FakeAltibiz
from cli.explain import explanation_lines
from cli.verify import verify_invoices
from persistence.connection.database import Database
from persistence.invoices import corrections, due_invoices
from persistence.invoices.listing import show_invoices
from persistence.invoices.next_revisions import registered_revisions
from persistence.master_data import import_master
from tests.billing.billing_samples import ZAGREB
from tests.support.billed_months import book
from tests.support.calculated_rows import calculate_due
from tests.support.worked_months import MONTHS, NAMES, master_of, read_month, take_month, write_yaml


def stored(database: Database, ids: list[str]) -> list[dict[str, Any]]:
    """What was calculated, in the form of the expectation."""
    with database.reading() as reader:
        found = show_invoices(reader, ids)
    return [
        {"id": each["id"], "lines": {line["ordinal"]: line["price_eur"] for line in each["lines"]}}
        | {name: str(each[name]) for name in ("total_eur", "tax_eur", "total_with_tax_eur")}
        for each in found
    ]


def explained(database: Database, invoice_id: str) -> list[str]:
    with database.transaction() as connection:
        (invoice,) = show_invoices(connection, [invoice_id])
        registered = registered_revisions(connection, invoice["snapshot"].get("corrects", []))
    return list(explanation_lines(invoice, registered))


def calculate_october(database: Database) -> set[str]:
    with database.transaction() as connection:
        due_invoices.make_due(connection, "test", ["2026-10"], reason="test")
    return calculate_due(database)


@pytest.mark.parametrize("name", NAMES)
def test_a_worked_month_comes_out_as_computed_by_hand(database: Database, tmp_path: Path, name: str) -> None:
    month = read_month(name)
    take_month(database, month, tmp_path)
    wanted = month["expected"]
    calculate_october(database)
    assert stored(database, [each["id"] for each in wanted]) == wanted
    if "then" in month:
        with FakeAltibiz() as erp:
            book(database, erp)
        with database.transaction() as connection:
            report = import_master(
                connection, write_yaml(tmp_path / "then.yaml", master_of({**month, **month["then"]}))
            )
        corrected = month["expected_corrections"]
        assert report.to_correct == {each["corrects"]: "registered" for each in corrected}
        for each in corrected:
            with database.transaction() as connection:
                taken = corrections.take_up(
                    connection, "correct", each["corrects"], "me", offer_seconds=60, lease_seconds=60
                )
                corrections.correct(connection, taken, "me", "the protocol came", ZAGREB, Decimal(95))
            del each["corrects"]
        assert stored(database, [each["id"] for each in corrected]) == corrected
        wanted += corrected
    for each in wanted:
        lines = explained(database, each["id"])
        assert not [line for line in lines if "!!" in line]
    result = verify_invoices(database, None)
    assert (result.verified, result.findings) == (len(wanted), [])


def test_each_worked_month_has_a_page_with_its_figures() -> None:
    assert len(NAMES) >= 12
    for name in NAMES:
        page = (MONTHS / name / "README.md").read_text("utf-8")
        month = read_month(name)
        for each in [*month["expected"], *month.get("expected_corrections", [])]:
            assert f"## {each['id']}\n" in page
            assert f"to pay **{each['total_with_tax_eur']} EUR**" in page


def test_no_instant_of_a_meter_is_in_two_live_invoices(database: Database, tmp_path: Path) -> None:
    take_month(database, read_month("10-meter-moved"), tmp_path)
    calculate_october(database)
    with database.transaction() as connection:
        rows = connection.execute(
            text("""SELECT meter_id, invoice_id, to_char(starts_at AT TIME ZONE 'UTC', 'DD HH24:MI'),
                to_char(ends_at AT TIME ZONE 'UTC', 'DD HH24:MI') FROM billed_spans ORDER BY 1, 3 DESC""")
        ).all()
    assert [tuple(row) for row in rows] == [
        ("A", "user-1.2026-10.1", "30 22:00", "15 09:00"),
        ("A", "user-2.2026-10.1", "16 07:30", "31 23:00"),
        ("K", "user-2.2026-10.1", "30 22:00", "16 07:30"),
        ("N", "user-1.2026-10.1", "15 09:00", "31 23:00"),
    ]


def test_a_gap_is_waited_for_unless_it_is_billed_to_nobody(database: Database, tmp_path: Path) -> None:
    month = read_month("09-move-with-a-gap")
    unbilled = month["measurement_locations"][0]
    month["measurement_locations"] = [{name: value for name, value in unbilled.items() if name != "gaps"}]
    take_month(database, month, tmp_path)
    assert calculate_october(database) == set()
    with database.transaction() as connection:
        connection.execute(text("UPDATE measurement_locations SET gaps = 'unbilled'"))
        connection.execute(text("UPDATE invoices SET next_attempt_at = NULL, claimed_by = NULL, claimed_for = NULL, "
                                "claimed_until = NULL"))  # fmt: skip
    assert len(calculate_due(database)) == 2
    gap = "   from 2026-10-09T22:00:00Z until 2026-10-11T22:00:00Z it is billed to nobody"
    assert all(gap in explained(database, f"user-{number}.2026-10.1") for number in (1, 2))
