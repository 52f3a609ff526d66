"""A batch whose inputs can't be read is made smaller: one that can't be read alone waits, the others are calculated."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from persistence.connection.database import Database
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from tests.support.biller_alone import BillerAlone
from tests.support.slow_readings import make_user, mend, spoil, url_of_user
from tests.support.small_load import write_load
from tests.support.writer_alone import context_on, rows

USERS = 40
BAD = ("user-00007.2026-08.1", "user-00023.2026-08.1")
BAD_METERS = "meter_id IN ('meter-00007', 'meter-00023')"
LIMITS = {
    "database": {"statement_timeout_seconds": 2, "lock_timeout_seconds": 1},
    "erp": {"retry": {"base_seconds": 0.1, "max_seconds": 3}},
}


@pytest.fixture
def deployment(database: Database, database_url: str, tmp_path: Path) -> Iterator[tuple[Database, BillerAlone]]:
    """Forty users to be billed for August, and a daemon's biller that is no superuser."""
    master, readings = write_load(tmp_path, users=USERS, first="2026-08", months=1)
    with database.transaction() as connection:
        import_master(connection, master)
    with database.transaction() as connection:
        import_readings(connection, readings)
    make_user(database)
    actors = BillerAlone(context_on(url_of_user(database_url), LIMITS))
    yield database, actors
    actors.close()


def in_state(database: Database, state: str) -> set[str]:
    return {each for each, value in rows(database, "state").items() if value == state}


@pytest.mark.parametrize("how", ["slow", "corrupt"])
def test_item_6_one_that_cannot_be_read_alone_waits_and_the_others_go_on(
    deployment: tuple[Database, BillerAlone], how: str
) -> None:
    database, actors = deployment
    spoil(database, BAD_METERS, how)
    began = time.monotonic()
    actors.until(lambda: len(in_state(database, "calculated")) == USERS - len(BAD))
    assert time.monotonic() - began < 25, "each level of splitting costs one timeout"

    def waits() -> bool:
        codes = rows(database, "held_code")
        return all(codes[each] == "inputs_unreadable" for each in BAD)

    actors.until(waits)
    assert in_state(database, "due") == set(BAD)
    reason = {"slow": "statement timeout", "corrupt": "invalid page"}[how]
    assert all(reason in rows(database, "held_reason")[each] for each in BAD)
    assert all(rows(database, "next_attempt_at")[each] is not None for each in BAD)
    actors.until(lambda: all(rows(database, "failures")[each] >= 2 for each in BAD))
    mend(database)
    actors.until(lambda: len(in_state(database, "calculated")) == USERS)
    assert set(rows(database, "failures").values()) == {0}
    assert set(rows(database, "held_code").values()) == {None}


def test_item_6_a_database_that_fails_for_all_is_no_invoices_fault(deployment: tuple[Database, BillerAlone]) -> None:
    database, actors = deployment
    spoil(database, "true", "corrupt")
    actors.until(lambda: actors.troubled("database_error"))
    actors.until(lambda: len(actors.troubled("database_error")) >= 3)
    assert set(rows(database, "held_code").values()) == {None}
    mend(database)
    actors.until(lambda: len(in_state(database, "calculated")) == USERS)
