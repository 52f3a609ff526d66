"""SIGKILL at random moments of a run: nothing is lost, nothing is billed twice."""

import os
import random
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from supervision.clock import system_randomness
from testkit.deployment import Deployment
from testkit.postgres import PostgresServer
from testkit.waiting import wait_until
from tests.support.small_load import write_load

KILLS = 30
INVOICES = 200
SEED = int(os.environ.get("BILLINGD_TEST_SEED", "0")) or system_randomness().randrange(1, 10**9)


@pytest.fixture
def deployment(tmp_path: Path, server: PostgresServer) -> Iterator[Deployment]:
    settings = {"work": {"lease_seconds": 20}, "erp": {"total_timeout_seconds": 5, "max_in_flight": 4}}
    deployment = Deployment(tmp_path / "home", database_url=server.url(), settings=settings)
    yield deployment
    deployment.close()


@pytest.mark.timeout(600)
def test_thirty_kills_lose_nothing_and_double_nothing(deployment: Deployment, tmp_path: Path) -> None:
    print(f"BILLINGD_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    master, readings = write_load(tmp_path / "load", users=20, first="2026-01", months=10)
    deployment.erp.start()
    deployment.erp.add_fault(kind="delay", seconds=0.2, when="after")
    deployment.do("import", "master", str(master))
    deployment.do("import", "readings", str(readings))
    finished_before = []
    for _ in range(KILLS):
        # Some die while they start, most of them in the middle of the work.
        starting = chance.random() < 0.2
        deployment.daemon.start(wait=not starting)
        kill_after(deployment, chance.uniform(0.1, 2.0) if starting else chance.uniform(0.0, 0.8))
        finished_before.append(deployment.counts().get("registered", 0))
    print(f"registered after each kill: {finished_before}")
    assert 0 < finished_before[KILLS // 2] < INVOICES, "the kills did not fall into the work"
    deployment.erp.clear_faults()
    deployment.daemon.start()
    wait_until(lambda: deployment.all_registered(INVOICES), within_seconds=180)
    listed = {invoice["id"]: invoice for invoice in deployment.json("invoices", "list")}
    ledger = deployment.erp.ledger()
    assert ledger.keys() == listed.keys()
    for invoice_id, booking in ledger.items():
        assert booking["bill_id"] == listed[invoice_id]["bill_id"]
        assert Decimal(booking["total_with_tax_eur"]) == Decimal(listed[invoice_id]["total_with_tax_eur"])
    assert deployment.daemon.stop() == 0


def kill_after(deployment: Deployment, seconds: float) -> None:
    """Lets the daemon live for so long, then kills it."""
    with pytest.raises(subprocess.TimeoutExpired):
        deployment.daemon.wait(seconds)
    deployment.daemon.kill()
