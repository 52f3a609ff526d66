"""Readings replaced while a calculation is under way: each invoice is computed from those in force, or is listed."""

import uuid
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from billing.invoice import Invoice, NotReady, calculate
from persistence.connection.database import Database
from persistence.invoices import claims, due_invoices, recalculation
from persistence.invoices.calculation_inputs import fetch_inputs
from persistence.invoices.calculations import Stored, store_calculations
from persistence.invoices.changes import Change
from persistence.master_data import import_master
from persistence.readings.importing import ReadingsReport, import_readings, replace_readings
from tests.billing.billing_samples import ZAGREB
from tests.support.calculated_rows import BY
from tests.support.moved_meters import raised
from tests.support.sample import SAMPLE
from tests.support.two_sessions import Session, until_it_waits

USER = "user-001"
INVOICE = f"{USER}.2026-08.1"
METER = "schneider-iEM3xxx-43920640"
BEFORE_EUR, AFTER_EUR = Decimal("59851.00"), Decimal("75305.55")


@pytest.fixture
def august(database: Database) -> Database:
    """One large user's invoice of August is due, and its readings are there."""
    with database.transaction() as connection:
        import_master(connection, SAMPLE / "master.yaml")
    with database.transaction() as connection:
        import_readings(connection, SAMPLE / "readings-2026-08.csv.gz")
    with database.transaction() as connection:
        assert due_invoices.make_due(connection, "test", ["2026-08"], users=[USER], reason="test") == 1
        recalculation.take_up(connection)
    return database


@pytest.fixture
def higher(tmp_path: Path) -> Path:
    """The reading at the end of August of one of its meters, 1,000 kWh higher."""
    return raised(tmp_path, METER, 1_000_000)


def in_hand(database: Database) -> Sequence[tuple[int, Invoice]]:
    """Claims and calculates what is due, as the biller does."""
    with database.transaction() as connection:
        claimed = {each.invoice_id: each.claim for each in claims.claim_due(connection, BY, claims.Wanted(10))}
    with database.transaction() as connection:
        made = [calculate(basis, 95) for basis in fetch_inputs(connection, list(claimed), ZAGREB)]
    return [(claimed[str(each.id)], each) for each in made if isinstance(each, Invoice)]


def store(connection: Connection, calculated: Sequence[tuple[int, Invoice]]) -> Stored:
    return store_calculations(connection, BY.name, uuid.uuid4(), calculated)


def replace_with(connection: Connection, path: Path) -> ReadingsReport:
    return replace_readings(connection, path, "misread", "ana")


def total_eur(database: Database) -> Decimal | None:
    with database.transaction() as connection:
        found = connection.execute(text("SELECT total_eur FROM invoices WHERE id = :id"), {"id": INVOICE})
        return Decimal(total) if (total := found.scalar_one()) is not None else None


def test_item_1_what_is_being_stored_when_its_readings_are_replaced_is_listed(august: Database, higher: Path) -> None:
    calculated = in_hand(august)
    with Database(august.settings) as observer, august.transaction() as storing:
        assert store(storing, calculated).done == {INVOICE}
        replacing = Session(august.settings, lambda connection: replace_with(connection, higher), "replacing")
        until_it_waits(observer, "replacing")
    report = replacing.result()
    assert report.replaced == 1
    assert total_eur(august) == BEFORE_EUR
    assert report.invoices == (INVOICE,)


def test_item_1_what_is_stored_while_its_readings_are_being_replaced_is_calculated_again(
    august: Database, higher: Path
) -> None:
    calculated = in_hand(august)
    assert calculated[0][1].total_eur == BEFORE_EUR
    with Database(august.settings) as replacing:
        with replacing.transaction() as connection:
            assert replace_with(connection, higher).invoices == ()
            with august.transaction() as storing:
                assert store(storing, calculated).deferred == {INVOICE}, "nobody waits for the import"
        with august.transaction() as storing:
            assert store(storing, calculated).stale == {INVOICE}
    again = in_hand(august)
    with august.transaction() as storing:
        assert store(storing, again).done == {INVOICE}
    assert total_eur(august) == AFTER_EUR


def test_item_1_a_result_from_before_a_replacement_is_refused_after_it(august: Database, higher: Path) -> None:
    calculated = in_hand(august)
    with august.transaction() as connection:
        assert replace_with(connection, higher).invoices == ()
    with august.transaction() as connection:
        assert store(connection, calculated).stale == {INVOICE}
    assert total_eur(august) is None


def test_item_1_a_result_from_before_a_change_of_master_data_is_refused_after_it(august: Database) -> None:
    calculated = in_hand(august)
    with august.transaction() as connection:
        import_master(connection, SAMPLE / "master.yaml")
    with august.transaction() as connection:
        assert store(connection, calculated).stale == {INVOICE}


def test_item_1_what_found_no_readings_does_not_wait_when_they_have_come(database: Database) -> None:
    with database.transaction() as connection:
        import_master(connection, SAMPLE / "master.yaml")
        due_invoices.make_due(connection, "test", ["2026-08"], users=[USER], reason="test")
        (claimed,) = claims.claim_due(connection, BY, claims.Wanted(10))
        (basis,) = fetch_inputs(connection, [INVOICE], ZAGREB)
    why = calculate(basis, 95)
    assert isinstance(why, NotReady)
    waits = Change(
        invoice_id=INVOICE, claim=claimed.claim, reason=why.reason, held_code=why.code, held_reason=why.reason,
        delay_seconds=300.0, meter_versions=basis.meter_versions,
    )  # fmt: skip
    with database.transaction() as connection:
        import_readings(connection, SAMPLE / "readings-2026-08.csv.gz")
    with database.transaction() as connection:
        assert store_calculations(connection, BY.name, uuid.uuid4(), (), [waits]).stale == {INVOICE}
    assert len(in_hand(database)) == 1


def test_item_1_an_invoice_that_somebody_keeps_locked_is_stored_later_and_the_others_now(august: Database) -> None:
    with august.transaction() as connection:
        due_invoices.make_due(connection, "test", ["2026-08"], users=["user-002"], reason="test")
    calculated = in_hand(august)
    assert len(calculated) == 2
    with Database(august.settings) as idle, idle.transaction() as holding:
        holding.execute(text("SELECT FROM invoices WHERE id = :id FOR UPDATE"), {"id": INVOICE})
        with august.transaction() as storing:
            stored = store(storing, calculated)
    assert stored.done == {"user-002.2026-08.1"}
    assert stored.deferred == {INVOICE}
    with august.transaction() as storing:
        assert store(storing, calculated).done == {INVOICE}


def test_item_1_a_reimport_of_what_is_known_makes_nothing_stale(august: Database) -> None:
    calculated = in_hand(august)
    with august.transaction() as connection:
        assert import_readings(connection, SAMPLE / "readings-2026-08.csv.gz").new == 0
    with august.transaction() as connection:
        assert store(connection, calculated).done == {INVOICE}
