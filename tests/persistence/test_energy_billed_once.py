"""The energy of a meter in a period is billed by one debt: whoever comes second waits, with a reason."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text

from altibiz.fake.server import FakeAltibiz
from billing.identity import InvoiceId
from billing.invoice import ENERGY_ALREADY_BILLED, Invoice, NotReady, calculate
from persistence.connection.database import Database
from persistence.connection.errors import RowRefused
from persistence.invoices import claims, corrections, due_invoices, recalculation
from persistence.invoices.calculation_inputs import fetch_inputs
from persistence.invoices.calculations import store_calculations
from persistence.invoices.changes import Change
from persistence.invoices.corrections import OrderRefused, TakenUp
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from tests.billing.billing_samples import ZAGREB
from tests.support.billed_months import book, states
from tests.support.calculated_rows import BY, calculate_due
from tests.support.moved_meters import move
from tests.support.sample import BAD

OURS, THEIRS = "user-004.2026-08.1", "user-008.2026-08.1"
METER = "abb-B2x-00406524"
REASON = f"meter {METER} is billed by invoice {OURS} in that time already: correct that invoice, or move the meter back"


@pytest.fixture
def database(database: Database) -> Iterator[Database]:
    """Readings of August for three users; one measurement location of user-004 will move to user-008."""
    with database.transaction() as connection:
        import_master(connection, BAD / "master.yaml")
    with database.transaction() as connection:
        import_readings(connection, BAD / "readings-2026-08.csv.gz")
    with database.transaction() as connection:
        recalculation.take_up(connection)
    yield database
    with database.transaction() as connection:
        twice = connection.execute(
            text("""SELECT count(*) FROM billed_spans a JOIN billed_spans b USING (meter_id)
                    WHERE a.starts_at < b.ends_at AND b.starts_at < a.ends_at
                    AND (a.network_user_id, a.period) < (b.network_user_id, b.period)""")
        ).scalar_one()
    assert twice == 0


def make_due(database: Database, *users: str) -> None:
    with database.transaction() as connection:
        due_invoices.make_due(connection, "test", ["2026-08"], users=users, reason="test")


def give_to_them(database: Database, folder: Path) -> None:
    with database.transaction() as connection:
        import_master(connection, move(BAD / "master.yaml", folder, "ml-004-2", "user-008"))


def calculated(database: Database, *ids: str) -> dict[str, Invoice | NotReady]:
    with database.transaction() as connection:
        return {str(each.id): calculate(each, 95) for each in fetch_inputs(connection, ids, ZAGREB)}


def claim(database: Database) -> dict[str, int]:
    with database.transaction() as connection:
        return {each.invoice_id: each.claim for each in claims.claim_due(connection, BY, claims.Wanted(10))}


def test_item_2_a_meter_that_moves_between_two_calculations_is_billed_once(database: Database, tmp_path: Path) -> None:
    make_due(database, "user-004")
    assert calculate_due(database) == {OURS}
    give_to_them(database, tmp_path)
    make_due(database, "user-008")
    assert calculate_due(database) == set()
    assert calculated(database, THEIRS) == {THEIRS: NotReady(ENERGY_ALREADY_BILLED, REASON)}


def test_item_2_what_waits_for_energy_goes_on_when_that_is_given_free(database: Database, tmp_path: Path) -> None:
    make_due(database, "user-004")
    calculate_due(database)
    give_to_them(database, tmp_path)
    make_due(database, "user-008")
    with database.transaction() as connection:
        recalculation.take_up(connection)
    waits = Change(
        invoice_id=THEIRS, claim=claim(database)[THEIRS], reason=REASON, held_code=ENERGY_ALREADY_BILLED,
        held_reason=REASON, delay_seconds=300.0,
    )  # fmt: skip
    with database.transaction() as connection:
        assert store_calculations(connection, BY.name, uuid.uuid4(), (), [waits]).done == {THEIRS}
    assert claim(database) == {}
    with database.transaction() as connection:
        ours = corrections.take_up(connection, "waive", OURS, "me", offer_seconds=60, lease_seconds=60)
        corrections.waive(connection, ours, "me", "the meter is theirs")
    with database.transaction() as connection:
        assert recalculation.take_up(connection) == 1
    assert calculate_due(database) == {THEIRS}


def test_item_2_a_result_whose_energy_somebody_else_has_billed_meanwhile_is_stale(database: Database) -> None:
    make_due(database, "user-004", "user-008")
    claimed = claim(database)
    ours = calculated(database, OURS)[OURS]
    assert isinstance(ours, Invoice)
    theirs = replace(ours, id=InvoiceId.parse(THEIRS))
    with database.transaction() as connection:
        stored = store_calculations(connection, BY.name, uuid.uuid4(), [(claimed[OURS], ours)])
        assert stored.done == {OURS}
    with database.transaction() as connection:
        stored = store_calculations(connection, BY.name, uuid.uuid4(), [(claimed[THEIRS], theirs)])
        assert stored.stale == {THEIRS}
    assert THEIRS in claim(database), "it is to be had at once"


def test_item_2_the_database_refuses_it_whatever_the_code_does(database: Database) -> None:
    make_due(database, "user-004", "user-008")
    claimed = claim(database)
    ours = calculated(database, OURS)[OURS]
    assert isinstance(ours, Invoice)
    pairs = [(claimed[OURS], ours), (claimed[THEIRS], replace(ours, id=InvoiceId.parse(THEIRS)))]
    with pytest.raises(RowRefused) as refused, database.transaction() as connection:
        store_calculations(connection, BY.name, uuid.uuid4(), pairs)
    assert refused.value.constraint == "billed_spans_once"
    assert set(states(database).values()) == {"due"}


def correct(database: Database, taken: TakenUp) -> None:
    with database.transaction() as connection:
        corrections.correct(connection, taken, "me", "x", ZAGREB, Decimal(95))


def test_item_2_a_correction_of_the_second_one_is_refused_and_of_the_first_one_gives_it_free(
    database: Database, tmp_path: Path
) -> None:
    make_due(database, "user-004", "user-008")
    assert calculate_due(database) == {OURS, THEIRS}
    with FakeAltibiz() as erp:
        book(database, erp)
        give_to_them(database, tmp_path)
        with database.transaction() as connection:
            ours, theirs = (
                corrections.take_up(connection, "correct", each, "me", offer_seconds=60, lease_seconds=60)
                for each in (OURS, THEIRS)
            )
        with pytest.raises(OrderRefused, match=r"energy_already_billed\): " + REASON):
            correct(database, theirs)
        correct(database, ours)
        with pytest.raises(OrderRefused, match="energy_already_billed"):
            correct(database, theirs)
        book(database, erp)
    correct(database, theirs)
    assert states(database) == {
        OURS: "registered", THEIRS: "registered",
        "user-004.2026-08.2": "registered", "user-008.2026-08.2": "calculated",
    }  # fmt: skip
