"""Gateways post a month in pieces while the database is stopped and the daemon killed: all is stored, to the cent."""

import functools
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from drills.workload import Workload
from supervision.clock import system_randomness
from testkit.deployment import Deployment
from testkit.postgres import PostgresServer
from testkit.waiting import pause, wait_until
from tests.support.gateways import Gateways, intake_settings

SEED = int(os.environ.get("BILLINGD_TEST_SEED", "0")) or system_randomness().randrange(1, 10**9)
WHOLE = os.environ.get("BILLINGD_DRILL") == "all"
GATEWAYS = 200 if WHOLE else 8
DATABASE_STOPPED_SECONDS = 60.0 if WHOLE else 4.0
KILLS = 3


@pytest.fixture
def deployment(tmp_path: Path, server: PostgresServer) -> Iterator[Deployment]:
    home = tmp_path / "w"
    settings = {"database": {"connect_timeout_seconds": 1}, "intake": intake_settings(home)}
    deployment = Deployment(home, database_url=server.url(), settings=settings)
    deployment.erp.start()
    yield deployment
    deployment.close()


@pytest.mark.timeout(1800)
def test_all_that_gateways_post_is_stored_once_and_billed_to_the_cent(
    deployment: Deployment, server: PostgresServer, tmp_path: Path
) -> None:
    print(f"BILLINGD_TEST_SEED={SEED}")
    workload = Workload(users=GATEWAYS, months=1)
    master, _ = workload.write(tmp_path, late=True)
    deployment.do("import", "master", str(master))
    gateways = Gateways(deployment.home, workload, SEED)
    deployment.daemon.start()

    def trouble() -> None:
        for number in range(KILLS):
            posted = len(gateways.pieces) * (number + 1) // (KILLS + 2)
            wait_until(functools.partial(gateways.has_posted, posted), within_seconds=600)
            if number == 0:
                server.stop()
            deployment.daemon.kill(signal.SIGKILL)
            deployment.daemon.start()
            if number == 0:
                pause(DATABASE_STOPPED_SECONDS)  # as long as it is down; posting goes on
                server.start()

    gateways.post_all(16, trouble)
    debts = workload.debts(datetime(2026, 11, 15, tzinfo=UTC), late=True)
    wait_until(lambda: deployment.all_registered(len(debts)), within_seconds=900)
    wait_until(
        lambda: not [each for each in (deployment.home / "inbox").iterdir() if each.is_file()], within_seconds=60
    )
    (readings,) = server.rows("SELECT count(*) AS number FROM readings")
    assert readings.number == gateways.rows
    assert server.rows("SELECT id FROM imports WHERE state = 'refused'") == []
    totals = {row.id: row.total_with_tax_eur for row in server.rows("SELECT id, total_with_tax_eur FROM invoices")}
    assert totals == {invoice_id: Decimal(debt.total_with_tax_eur) for invoice_id, debt in debts.items()}
    print(f"{len(gateways.latencies)} posts, {gateways.failures} failed and were repeated")
