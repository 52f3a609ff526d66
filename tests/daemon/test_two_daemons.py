"""Two daemons on one database: they share the work, and one that dies, freezes or is cut off is done without."""

import signal
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from testkit.deployment import Deployment
from testkit.erp import FakeErp
from testkit.postgres import VOLATILE, PostgresServer
from testkit.proxy import Proxy
from testkit.waiting import wait_until
from tests.daemon.networks import namespace
from tests.support.small_load import write_load

LEASE_SECONDS = 20
USERS, MONTHS = 15, 10
INVOICES = USERS * MONTHS
# Their clocks differ by minutes; leases are the database's business.
CLOCKS = {"a": "2026-11-15T00:00:00Z", "b": "2026-11-15T00:07:00Z"}


def make(
    home: Path, name: str, database_url: str, *, erp: FakeErp | None = None, erp_url: str | None = None
) -> Deployment:
    settings: dict[str, Any] = {
        "instance": name,
        "work": {"lease_seconds": LEASE_SECONDS},
        "erp": {"total_timeout_seconds": 5, "max_in_flight": 4, **({"base_url": erp_url} if erp_url else {})},
    }
    return Deployment(home / name, database_url=database_url, settings=settings, erp=erp, now=CLOCKS[name])


def give_work(deployment: Deployment, folder: Path) -> None:
    """A month's work for all, at an ERP that books at once and takes its time to say so."""
    master, readings = write_load(folder, users=USERS, first="2026-01", months=MONTHS)
    deployment.erp.add_fault(kind="delay", seconds=0.5, when="after")
    deployment.do("import", "master", str(master))
    deployment.do("import", "readings", str(readings))


def set_to_work(keeper: Deployment, other: Deployment, folder: Path) -> None:
    """Starts both and the keeper's ERP, and waits until each has booked some of the load."""
    keeper.erp.start()
    for deployment in (keeper, other):
        deployment.daemon.start()
    give_work(keeper, folder)
    wait_until(lambda: min(registered_by(keeper, name) for name in ("a", "b")) >= 4)


@pytest.fixture
def pair(tmp_path: Path, database_url: str) -> Iterator[tuple[Deployment, Deployment]]:
    """Both daemons at work on one load; the first one's ERP is the ERP of both."""
    first = make(tmp_path, "a", database_url)
    second = make(tmp_path, "b", database_url, erp=first.erp)
    try:
        set_to_work(first, second, tmp_path / "load")
        yield first, second
    finally:
        for deployment in (second, first):
            deployment.close()


def rows(deployment: Deployment, sql: str) -> list[Any]:
    with deployment.database() as database, database.transaction() as connection:
        return list(connection.execute(text(sql)).all())


def registered_by(deployment: Deployment, name: str) -> int:
    sql = f"SELECT 1 FROM invoice_history WHERE to_state = 'registered' AND actor LIKE '{name}#%'"
    return len(rows(deployment, sql))


def in_hand(deployment: Deployment, name: str) -> set[str]:
    """What this daemon has claimed for delivery."""
    sql = f"SELECT id FROM invoices WHERE claimed_by LIKE '{name}#%' AND claimed_for = 'delivery'"
    return {row.id for row in rows(deployment, sql)}


def finish(deployment: Deployment) -> None:
    """Everything gets booked, once each, and here stands what the ERP's ledger says."""
    wait_until(lambda: deployment.all_registered(INVOICES), within_seconds=LEASE_SECONDS + 60)
    check(deployment)


def check(deployment: Deployment) -> None:
    ledger = deployment.erp.ledger()
    found = {row.id: row for row in rows(deployment, "SELECT id, bill_id, total_with_tax_eur FROM invoices")}
    assert ledger.keys() == found.keys()
    for invoice_id, booking in ledger.items():
        assert booking["bill_id"] == found[invoice_id].bill_id
        assert Decimal(booking["total_with_tax_eur"]) == found[invoice_id].total_with_tax_eur
        assert booking["offers"] == 1, f"{invoice_id} was offered again without asking"
    twice = rows(
        deployment,
        "SELECT invoice_id FROM invoice_history WHERE to_state = 'registered' GROUP BY 1 HAVING count(*) > 1",
    )
    assert twice == []


@pytest.mark.timeout(600)
def test_the_work_of_one_that_is_killed_is_taken_over_after_its_lease(pair: tuple[Deployment, Deployment]) -> None:
    first, second = pair
    first.daemon.kill()
    left = in_hand(first, "a")
    assert left, "it had nothing in hand"
    finish(second)
    taken_over = rows(first, "SELECT invoice_id, actor FROM invoice_history WHERE to_state = 'registered'")
    assert {row.actor.partition("#")[0] for row in taken_over if row.invoice_id in left} == {"b"}


@pytest.mark.timeout(600)
def test_one_that_is_frozen_past_its_lease_and_thawed_changes_nothing_late(pair: tuple[Deployment, Deployment]) -> None:
    first, second = pair
    first.daemon.signal(signal.SIGSTOP)
    left = in_hand(first, "a")
    assert left, "it had nothing in hand"
    finish(second)
    everything = (
        "SELECT i.*, (SELECT count(*) FROM invoice_history WHERE invoice_id = i.id) FROM invoices i ORDER BY id"
    )
    before = rows(first, everything)
    (seen,) = rows(first, "SELECT seen_at FROM instances WHERE name = 'a'")
    first.daemon.signal(signal.SIGCONT)
    # It comes back with answers in hand for what is no longer its own, writes them, and is told nothing of it.
    wait_until(lambda: rows(first, "SELECT seen_at FROM instances WHERE name = 'a'")[0].seen_at > seen.seen_at)
    wait_until(lambda: first.daemon.is_up() and not first.daemon.status()["erp"]["in_flight"])
    assert rows(first, everything) == before
    check(second)
    assert first.daemon.stop() == 0


@pytest.mark.timeout(600)
def test_one_that_is_cut_off_from_the_database_is_done_without(tmp_path: Path, cluster: Path) -> None:
    with namespace(cables=2) as there:
        to_database, to_erp = there.cables
        options = {**VOLATILE, "listen_addresses": f"127.0.0.1,{to_database.here}"}
        server = PostgresServer.copy(cluster, tmp_path / "server", options)
        with (server.home / "postgres" / "data" / "pg_hba.conf").open("a") as file:
            file.write("host all all 198.18.0.0/15 scram-sha-256\n")
        server.execute("SELECT pg_reload_conf()")
        second = make(tmp_path, "b", server.url())
        with closing(Proxy(second.erp.port, to_erp.here)) as erp:
            url = server.url().replace("127.0.0.1", to_database.here)
            first = make(tmp_path, "a", url, erp_url=f"http://{to_erp.here}:{erp.port}/api/v1")
            first.daemon.command_prefix = there.command
            try:
                set_to_work(second, first, tmp_path / "load")
                to_database.pull()
                left = in_hand(second, "a")
                assert left, "it had nothing in hand"
                finish(second)
                late = rows(second, "SELECT invoice_id, actor FROM invoice_history WHERE to_state = 'registered'")
                assert {row.actor.partition("#")[0] for row in late if row.invoice_id in left} == {"b"}
                wait_until(lambda: "database_unreachable" in first.daemon.standing())
                to_database.plug()
                wait_until(lambda: "database_unreachable" not in first.daemon.standing())
                check(second)
                assert first.daemon.stop() == 0
            finally:
                first.close()
                second.close()
                server.destroy()
