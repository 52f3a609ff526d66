"""Remarks from the readings to the approval: the peak's instant, a repeated reading, and what waits for a look."""

import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from billing.invoice import Invoice, calculate
from cli.explain import explanation_lines
from persistence.connection.database import Database
from persistence.invoices import approval, claims, due_invoices
from persistence.invoices.calculation_inputs import fetch_inputs
from persistence.invoices.calculations import store_calculations
from persistence.invoices.listing import show_invoices
from persistence.invoices.overview import overview
from tests.billing.billing_samples import ZAGREB
from tests.support.billed_months import claim_offers
from tests.support.calculated_rows import BY
from tests.support.worked_months import read_month, take_month

ONE = "user-1.2026-10.1"


@pytest.fixture
def peak(database: Database, tmp_path: Path) -> Database:
    """Meter B of the first worked month has the peak at 10:30Z on 20 October; the reading before it is repeated."""
    take_month(database, read_month("01-exchange-at-a-quarter-hour"), tmp_path)
    with database.transaction() as connection:
        connection.execute(
            text("""UPDATE readings r SET active_import_total_wh = p.active_import_total_wh,
                active_import_t1_wh = p.active_import_t1_wh, active_import_t2_wh = p.active_import_t2_wh,
                reactive_import_total_varh = p.reactive_import_total_varh
                FROM readings p WHERE r.meter_id = 'B' AND r.at = '2026-10-20T10:15:00Z'
                AND p.meter_id = 'B' AND p.at = '2026-10-20T10:00:00Z'""")
        )
        connection.execute(text("UPDATE meters SET connection_power_w = 20000 WHERE id = 'B'"))
        due_invoices.make_due(connection, "test", ["2026-10"], reason="test")
    return database


def store(database: Database, *, hold: bool) -> Invoice:
    with database.transaction() as connection:
        (claimed,) = claims.claim_due(connection, BY, claims.Wanted(9))
        (basis,) = fetch_inputs(connection, [ONE], ZAGREB)
        invoice = calculate(basis, 95)
        assert isinstance(invoice, Invoice)
        held = replace(invoice, holds_remarks=hold)
        assert store_calculations(connection, BY.name, uuid.uuid4(), [(claimed.claim, held)]).done == {ONE}
    return invoice


def test_the_peak_has_its_instant_and_its_remarks(peak: Database) -> None:
    store(peak, hold=False)
    with peak.reading() as reader:
        (invoice,) = show_invoices(reader, [ONE])
    lines = list(explanation_lines(invoice, []))
    assert [line for line in lines if line.startswith("remark: ")] == [
        "remark: meter B needed 23200 W in a quarter hour, its connection has 20000 W",
        "remark: meter B: the highest quarter hour at 2026-10-20T10:30:00Z follows a reading that repeats the one "
        "before; it may have the energy of two",
    ]
    assert [line for line in lines if "the highest quarter hour of" in line] == [
        "      the highest quarter hour of 2980 (2026-10-20T10:15:00Z to 2026-10-20T10:30:00Z): "
        "4 × 5540 Wh / 1000 = 22.16 kW"
    ]
    assert [each.invoice_id for each in claim_offers(peak)] == [ONE]


def test_what_has_remarks_waits_for_a_person_where_that_is_wanted_and_is_listed_first(peak: Database) -> None:
    invoice = store(peak, hold=True)
    assert claim_offers(peak) == []
    with peak.transaction() as connection:
        assert overview(connection, approval_required=False).unapproved == 1
        seen = approval.preview(connection, "2026-10", None)
        assert [row.remark for row in seen.remarks] == sorted(invoice.snapshot["remarks"])  # type: ignore[call-overload]
        assert approval.approve(connection, "ana", "it was the fair", [ONE]) == [ONE]
    assert [each.invoice_id for each in claim_offers(peak)] == [ONE]


def test_usual_is_the_average_of_the_last_three_billed_months(database: Database, tmp_path: Path) -> None:
    take_month(database, read_month("08-handover"), tmp_path)
    amounts = {"2026-05": 9_999, "2026-06": 10, "2026-07": 20, "2026-09": 33}
    with database.transaction() as connection:
        for period, kwh in amounts.items():
            connection.execute(
                text("""INSERT INTO invoices (id, network_user_id, period, state, energy_kwh)
                    VALUES ('user-1.' || :period || '.1', 'user-1', :period, 'due', :kwh)"""),
                {"period": period, "kwh": kwh},
            )
        (basis,) = fetch_inputs(connection, [ONE], ZAGREB)
    assert basis.usual_energy_kwh == 21
    invoice = calculate(basis, 95)
    assert isinstance(invoice, Invoice)
    assert invoice.snapshot["remarks"] == ["consumption of 331 kWh is more than 5 times the 21 kWh of the last months"]
