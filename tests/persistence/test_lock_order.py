"""Who waits for whom on the rows of meters and invoices: nobody in a ring, no import with a row in hand."""

import threading
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from persistence import instances, locks
from persistence.connection.database import Database
from persistence.connection.errors import DatabaseFailed
from persistence.connection.statements import notify
from persistence.invoices import claims, corrections, due_invoices, held_invoices, recalculation
from persistence.locks import lock_invoices, lock_meters, lock_meters_in_turns, locked_by
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from tests.billing.billing_samples import ZAGREB
from tests.support.billed_months import AUGUST, calculate_august, claim_offers, hold, states
from tests.support.calculated_rows import BY, calculate_due
from tests.support.moved_meters import HEADER, move
from tests.support.sample import BAD
from tests.support.superuser import as_superuser, superuser
from tests.support.two_sessions import Session, until_it_waits

METERS = ("abb-B2x-00129728", "abb-B2x-00220651", "abb-B2x-00252537", "abb-B2x-00406524")


@pytest.fixture
def observer(database: Database) -> Iterator[Database]:
    """Looks at the others."""
    with Database(database.settings) as observer:
        yield observer


@pytest.fixture
def due(database: Database) -> Database:
    """Three invoices of August are due; their readings are not there."""
    with database.transaction() as connection:
        import_master(connection, BAD / "master.yaml")
    with database.transaction() as connection:
        due_invoices.make_due(connection, "test", ["2026-08"], reason="test")
        recalculation.take_up(connection)
    return database


def row(meter_id: str, hour: int = 0) -> str:
    return f"{meter_id},2026-08-05T{hour:02}:00:00Z,10,6,4,1,2,3\n"


def written(folder: Path, *rows: str) -> Path:
    path = folder / "readings.csv"
    path.write_text(HEADER + "".join(rows))
    return path


# Item 10


def test_item_10_both_of_two_transactions_that_deadlock_are_done(due: Database) -> None:
    barrier = threading.Barrier(2)
    first, second = AUGUST[:2]

    def in_the_order(*ids: str) -> Session[None]:
        tries: list[int] = []

        def work(connection: Connection) -> None:
            tries.append(1)
            for each in ids:
                connection.execute(text("UPDATE invoices SET polls = polls + 1 WHERE id = :id"), {"id": each})
                if len(tries) == 1 and each == ids[0]:
                    barrier.wait(20)

        return Session(due.settings, work)

    sessions = in_the_order(first, second), in_the_order(second, first)
    for session in sessions:
        session.result()
    assert sum(session.tries for session in sessions) == 3
    with due.transaction() as connection:
        polls = connection.execute(text("SELECT id, polls FROM invoices ORDER BY id LIMIT 2"))
        assert [tuple(each) for each in polls] == [(first, 2), (second, 2)]


def test_item_10_after_five_deadlocks_the_last_is_told_and_other_errors_at_once(due: Database) -> None:
    for sqlstate, tries in (("40P01", 5), ("40001", 5), ("22012", 1)):
        made: list[int] = []

        def work(connection: Connection, made: list[int] = made, sqlstate: str = sqlstate) -> None:
            made.append(1)
            connection.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{sqlstate}'; END $$"))

        with pytest.raises(DatabaseFailed) as failed:
            due.run(work)
        assert (failed.value.sqlstate, len(made)) == (sqlstate, tries)


def test_item_10_an_import_that_loses_a_deadlock_reads_its_file_again(
    due: Database, observer: Database, tmp_path: Path
) -> None:
    with due.transaction() as connection:
        import_readings(connection, written(tmp_path, row(METERS[3])))  # the month is there
    path = written(tmp_path, row(METERS[0]), row(METERS[1]), row(METERS[1], 1))
    insert = "INSERT INTO readings VALUES (:meter, '2026-08-05T00:00Z', 10, 6, 4, 1, 2, 3)"
    with superuser(due) as other, other.transaction() as connection:
        connection.execute(text("SET LOCAL deadlock_timeout = '20s'"))  # the import is the one that looks
        connection.execute(text(insert), {"meter": METERS[1]})
        importing = Session(due.settings, lambda connection: import_readings(connection, path), "importing")
        until_it_waits(observer, "importing")
        connection.execute(text(insert), {"meter": METERS[0]})
    report = importing.result()
    assert importing.tries > 1
    assert (report.rows, report.new, report.same) == (3, 1, 2)


def test_item_10_an_import_waits_for_no_writer_of_invoices(due: Database, observer: Database, tmp_path: Path) -> None:
    """One transaction locks the last invoice, then the first; an import of the meters of all is in between."""
    path = written(tmp_path, *(row(each) for each in METERS))
    with due.transaction() as connection:
        lock_invoices(connection, AUGUST[2:])
        importing = Session(due.settings, lambda connection: import_readings(connection, path), "importing")
        assert importing.result(5).new == 4
        assert len(lock_invoices(connection, AUGUST)) == 3
    assert importing.tries == 1


def test_item_10_a_retry_of_many_locks_in_the_order_of_the_ids(database: Database, observer: Database) -> None:
    calculate_august(database)
    for delivery in claim_offers(database):
        hold(database, delivery)

    def retry(connection: Connection) -> list[str | None]:
        lock_invoices(connection, list(reversed(AUGUST)))
        notify(connection, "retry")
        return [held_invoices.retry_held(connection, "me", each, "x") for each in reversed(AUGUST)]

    with database.transaction() as connection:
        lock_invoices(connection, AUGUST[:1])
        retrying = Session(database.settings, retry, "retrying")
        until_it_waits(observer, "retrying")
        assert lock_invoices(connection, AUGUST[1:], wait=False) == list(AUGUST[1:]), "it holds none that comes later"
    assert retrying.result() == [None] * 3
    assert retrying.tries == 1


# Item 11


def test_item_11_one_idle_lock_on_an_invoice_stops_no_import_and_nobody_else(due: Database, tmp_path: Path) -> None:
    with Database(due.settings) as idle, idle.transaction() as holding:
        lock_invoices(holding, AUGUST[:1])
        with Database(due.settings) as other, due.transaction() as importing:
            import_readings(importing, BAD / "readings-2026-08.csv.gz")
            with other.transaction() as connection:
                claimed = [each.invoice_id for each in claims.claim_due(connection, BY, claims.Wanted(9))]
                assert sorted(claimed) == list(AUGUST[1:])
        with due.transaction() as connection:
            import_master(connection, move(BAD / "master.yaml", tmp_path, "ml-004-2", "user-008"))
        with due.transaction() as connection:
            assert recalculation.take_up(connection) == 2, "those in hand, of before the import"
        assert calculate_due(due) == set(AUGUST[1:])
    assert calculate_due(due) == set(AUGUST[:1])


def test_item_11_while_an_import_waits_for_a_meter_the_others_are_free_again_and_again(
    due: Database, observer: Database, tmp_path: Path
) -> None:
    path = written(tmp_path, *(row(each) for each in METERS))
    with due.transaction() as connection:
        lock_meters(connection, METERS[2:3])
        importing = Session(due.settings, lambda connection: import_readings(connection, path), "importing")
        until_it_waits(observer, "importing")
        free, until = 0, time.monotonic() + 20
        while free < 3 and time.monotonic() < until:
            with observer.transaction() as other:
                free += lock_meters(other, METERS, wait=False) == [METERS[0], METERS[1], METERS[3]]
            threading.Event().wait(0.1)
        assert free == 3
        assert not importing.ended
    assert importing.result(5).new == 4


def test_item_11_an_import_gives_up_in_the_end_and_names_who_is_in_its_way(
    due: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 1.0)
    with due.transaction() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        connection.execute(text("SET LOCAL application_name = 'psql'"))
        lock_meters(connection, METERS[1:2])
        path = written(tmp_path, *(row(each) for each in METERS))
        importing = Session(due.settings, lambda connection: import_readings(connection, path), "importing")
        with pytest.raises(DatabaseFailed) as failed:
            importing.result()
        mover = move(BAD / "master.yaml", tmp_path, "ml-004-2", "user-008")
        importing_master = Session(due.settings, lambda connection: import_master(connection, mover), "importing")
        with pytest.raises(DatabaseFailed, match=f"session {pid} "):
            importing_master.result()
    said = str(failed.value)
    assert said.startswith(f"meter {METERS[1]} has been locked by session {pid} (psql) since 20")
    assert said.endswith("for 1 s and longer: end that session or wait for it, then run this command again")
    assert failed.value.sqlstate == locks.LOCK_NOT_AVAILABLE


def test_item_11_two_imports_of_one_new_month_wait_with_no_meter_in_hand(
    due: Database, observer: Database, tmp_path: Path
) -> None:
    """The first makes the month's partition and inserts the same readings; the second waits for both."""
    path = written(tmp_path, *(row(each) for each in METERS))

    def import_it(connection: Connection) -> object:
        return import_readings(connection, path)

    with due.transaction() as connection:
        connection.execute(text("LOCK TABLE ONLY readings IN SHARE UPDATE EXCLUSIVE MODE"))
        importing = Session(due.settings, import_it, "importing")
        until_it_waits(observer, "importing")
        with observer.transaction() as other:
            assert len(lock_meters(other, METERS, wait=False)) == 4
    importing.result()


@pytest.mark.parametrize("how", ["start", "end"])
def test_item_11_a_start_and_an_end_wait_for_no_invoice(due: Database, how: str) -> None:
    first, second = uuid.uuid4(), uuid.uuid4()
    by = claims.Claimer(f"here#{first}", 60.0)
    with due.transaction() as connection:
        instances.register(connection, "here", first, "1")
        claims.claim_due(connection, by, claims.Wanted(9))
    with Database(due.settings) as idle, idle.transaction() as holding:
        lock_invoices(holding, AUGUST[:1])
        with due.transaction(3) as connection:
            if how == "end":
                instances.deregister(connection, "here", first, "clean")
            else:
                assert instances.register(connection, "here", second, "1").stuck.keys() == {AUGUST[0]}
    with due.transaction() as connection:
        held = connection.execute(text("SELECT id FROM invoices WHERE claimed_by IS NOT NULL")).scalars().all()
    assert held == [AUGUST[0]]


def test_item_11_a_correction_holds_its_meters_against_imports(
    database: Database, observer: Database, tmp_path: Path
) -> None:
    calculate_august(database)
    for delivery in claim_offers(database):
        hold(database, delivery)
    with database.transaction() as connection:
        taken = corrections.take_up(connection, "correct", AUGUST[0], "me", offer_seconds=0, lease_seconds=60)
    path = written(tmp_path, row(METERS[1]).replace("T00:00:00Z", "T00:15:00Z"))
    as_superuser(database, f"DELETE FROM readings WHERE meter_id = '{METERS[1]}' AND at = '2026-08-05T00:15Z'")
    with database.transaction() as connection:
        corrections.correct(connection, taken, "me", "x", ZAGREB, Decimal(0))
        importing = Session(database.settings, lambda connection: import_readings(connection, path), "importing")
        until_it_waits(observer, "importing")
    importing.result()
    assert states(database)["user-004.2026-08.2"] == "calculated"


def test_a_lock_that_was_taken_in_a_savepoint_is_seen(due: Database) -> None:
    """The row bears the number of the savepoint, which no session is said to have."""
    with Database(due.settings) as idle, idle.transaction() as holding:
        with holding.begin_nested():
            lock_invoices(holding, AUGUST[:1])
        with due.transaction() as connection:
            assert locked_by(connection, "invoices", AUGUST) == {AUGUST[0]: "another session"}
    with due.transaction() as connection:
        assert locked_by(connection, "invoices", AUGUST) == {}


def test_an_import_that_has_its_meters_waits_for_other_locks_as_before(due: Database) -> None:
    with due.transaction() as connection:
        before = connection.execute(text("SHOW lock_timeout")).scalar_one()
        lock_meters_in_turns(connection, METERS)
        assert connection.execute(text("SHOW lock_timeout")).scalar_one() == before
