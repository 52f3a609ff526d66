"""Of 500 invoices three are bad, each in its own way: 497 are registered, three say why not, no supervisor gives up."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from persistence.connection.database import Database
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from testkit.deployment import Deployment
from testkit.waiting import wait_until
from tests.support.slow_readings import make_user, spoil, url_of_user
from tests.support.small_load import write_load
from tests.support.writer_alone import rows

USERS = 500
REFUSED, POISON, SLOW = (f"user-{number:05d}.2026-10.1" for number in (101, 222, 333))
# The default is 30: with it the same takes a minute more.
STATEMENT_SECONDS = float(os.environ.get("BILLINGD_TEST_STATEMENT_SECONDS", "3"))
WITHIN_SECONDS = 120.0


@pytest.fixture
def deployment(database: Database, database_url: str, tmp_path: Path) -> Iterator[Deployment]:
    """A daemon with the default settings of supervision, as a user of the database that is no superuser."""
    master, readings = write_load(tmp_path / "load", users=USERS, first="2026-10", months=1)
    with database.transaction() as connection:
        import_master(connection, master)
    with database.transaction() as connection:
        import_readings(connection, readings)
    make_user(database)
    settings: dict[str, Any] = {"database": {"statement_timeout_seconds": STATEMENT_SECONDS}}
    deployment = Deployment(tmp_path / "home", database_url=url_of_user(database_url), settings=settings)
    yield deployment
    deployment.close()


@pytest.mark.timeout(200)
def test_item_7_of_500_with_three_bad_ones_497_are_registered(deployment: Deployment, database: Database) -> None:
    with database.transaction() as connection:
        connection.exec_driver_sql(
            f"ALTER TABLE invoices ADD CHECK (id <> '{REFUSED}' OR state <> 'calculated') NOT VALID"
        )
    spoil(database, "meter_id = 'meter-00333'")
    deployment.daemon.failpoints.enable("biller.calculate", "raise", [POISON])
    deployment.erp.start()
    began = time.monotonic()
    deployment.daemon.start()
    left = WITHIN_SECONDS - (time.monotonic() - began)
    wait_until(lambda: deployment.counts().get("registered") == USERS - 3, within_seconds=left, every_seconds=0.5)
    registered_seconds = time.monotonic() - began

    def all_say_why() -> bool:
        codes = rows(database, "held_code")
        wanted = {REFUSED: "poison_invoice", POISON: "poison_invoice", SLOW: "inputs_unreadable"}
        return {each: codes[each] for each in wanted} == wanted

    left = WITHIN_SECONDS - (time.monotonic() - began)
    wait_until(all_say_why, within_seconds=left, every_seconds=0.5)
    print(f"registered after {registered_seconds:.1f} s, all say why after {time.monotonic() - began:.1f} s")
    states, reasons = rows(database, "state"), rows(database, "held_reason")
    assert (states[REFUSED], states[POISON], states[SLOW]) == ("held", "held", "due")
    assert "check constraint" in reasons[REFUSED]
    assert "FailpointError" in reasons[POISON]
    assert "statement timeout" in reasons[SLOW]
    assert "GivenUp" not in deployment.daemon.log()
    assert "Restarting" not in deployment.daemon.log(), "whoever isolates a bad invoice uses up no restart"
    wait_until(lambda: "poison_invoice" in deployment.daemon.standing())
    assert len(deployment.erp.ledger()) == USERS - 3
