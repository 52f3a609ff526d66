"""The runbooks of docs/operations.md, each tried as it stands there, with a real server's own programs."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from persistence.connection.statements import fetch_value
from testkit.deployment import Deployment
from testkit.postgres import PostgresServer
from testkit.waiting import WAIT_SECONDS, wait_until
from tests.cli.operations import Operator, chapter
from tests.support.sample import SAMPLE
from tests.support.small_load import write_load

pytestmark = pytest.mark.timeout(400)  # a dozen commands each, and three daemons
SETTINGS: dict[str, Any] = {
    "instance": "billing-1",
    "erp": {"poll_interval_seconds": 0.2, "retry": {"base_seconds": 0.1, "max_seconds": 1}},
    "supervision": {"window_seconds": 1},
}


@pytest.fixture
def world(tmp_path: Path, server: PostgresServer) -> Iterator[Deployment]:
    """A daemon and an ERP on a server of their own, with the sample's master data."""
    world = Deployment(tmp_path / "world", database_url=server.url(), settings=SETTINGS)
    for readings in SAMPLE.glob("readings-*"):
        shutil.copy(readings, world.home)
    world.erp.start()
    world.daemon.start()
    yield world
    world.close()


def book(world: Deployment, *months: str) -> None:
    """Imports the readings of these months; what they bill is not waited for."""
    world.do("import", "readings", *(f"readings-2026-{month}.csv.gz" for month in months))


def leave_open(world: Deployment) -> None:
    """All is calculated and offered; of October the ERP owes us its verdict."""
    world.do("import", "master", str(SAMPLE / "master.yaml"))
    book(world, "08", "09")
    wait_until(lambda: world.counts().get("registered") == 24)
    world.erp.add_fault(kind="initiated", seconds=86400)
    book(world, "10")
    wait_until(lambda: world.counts() == {"registered": 24, "initiated": 12})


def booked(at: Deployment, by: Deployment) -> None:
    """The ERP that was started in `at` gives its verdicts, and the daemon in `by` takes them."""
    at.erp.give_verdicts()
    settled(by, 36)


def settled(world: Deployment, number: int) -> None:
    """All is booked and the daemon calls it well; an alarm that came back may stand on for its minute."""

    def seen() -> bool:
        document = world.daemon.status()
        return bool(document["well"]) and document["invoices"] == {"registered": number}

    wait_until(seen, within_seconds=2 * WAIT_SECONDS)


def has_a_root(world: Deployment) -> bool:
    with world.database() as database, database.reading() as reader:
        return fetch_value(reader, "SELECT day FROM audit_roots") is not None


def test_a_backup_a_day_old_is_restored_and_nothing_is_billed_twice(world: Deployment, server: PostgresServer) -> None:
    world.do("import", "master", str(SAMPLE / "master.yaml"))
    book(world, "08")
    wait_until(lambda: world.counts().get("registered") == 12)
    world.erp.stop()
    book(world, "09")
    wait_until(lambda: world.counts().get("sent"))
    wait_until(lambda: world.counts().get("due", 0) == 12)
    known = {}

    def a_day_passes() -> None:
        world.erp.start()
        book(world, "10")
        settled(world, 36)
        known.update(world.erp.ledger())

    def everything_is_booked() -> None:
        settled(world, 36)
        wait_until(lambda: has_a_root(world))  # which the restored daemon makes within seconds

    Operator(world, server).follow(
        chapter("### Backup and restore"),
        {"a day passes": a_day_passes, "everything is booked": everything_is_booked},
    )
    assert world.erp.ledger().keys() == known.keys()
    assert {invoice_id: each["bill_id"] for invoice_id, each in world.erp.ledger().items()} == {
        invoice["id"]: invoice["bill_id"] for invoice in world.json("invoices", "list")
    }


def test_an_upgrade_takes_over_what_the_old_daemon_had_begun(world: Deployment) -> None:
    leave_open(world)
    Operator(world).follow(chapter("### Upgrade"), {"everything is booked": lambda: booked(world, world)})
    assert len(world.erp.ledger()) == 36


def test_daemon_and_database_move_to_another_server(
    world: Deployment, server: PostgresServer, cluster: Path, tmp_path: Path
) -> None:
    leave_open(world)
    other = PostgresServer.copy(cluster, tmp_path / "other-server")
    other.drop_database("billingd")
    operator = Operator(world, server)
    new = Deployment(tmp_path / "new-world", database_url=other.url(), settings=SETTINGS, erp=world.erp)

    def on_the_new_server() -> None:
        shutil.copy(world.home / "billingd.dump", new.home)
        operator.world, operator.server = new, other

    try:
        operator.follow(
            chapter("### Moving to another server"),
            {"on the new server": on_the_new_server, "everything is booked": lambda: booked(world, new)},
        )
        assert len(world.erp.ledger()) == 36
    finally:
        new.close()
        other.destroy()


def test_december_has_the_old_prices_and_january_the_new(tmp_path: Path, database_url: str) -> None:
    now = "2027-02-15T00:00:00Z"
    world = Deployment(tmp_path / "world", database_url=database_url, settings=SETTINGS, now=now)
    text = chapter("### A price change on 1 January")
    example = re.search(r"```yaml\n# (\S+)\n(.*?)```", text, re.S)
    assert example is not None
    (world.home / example[1]).write_text(example[2], "utf-8")
    try:
        world.erp.start()
        world.daemon.start()
        master, readings = write_load(world.home, users=2, first="2026-12", months=2)
        world.do("import", "master", str(master))
        wait_until(lambda: world.counts() == {"due": 4})
        Operator(world).follow(text, {"everything is booked": lambda: settled(world, 4)})
        assert readings.name in text
    finally:
        world.close()
