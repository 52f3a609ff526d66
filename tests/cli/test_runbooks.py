"""The runbooks of docs/operations.md, each tried as it stands there, with a real server's own programs."""

import re
import shutil
from collections.abc import Callable, Iterator
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
def deployment(tmp_path: Path, server: PostgresServer) -> Iterator[Deployment]:
    """A daemon and an ERP on a server of their own, with the sample's master data."""
    deployment = Deployment(tmp_path / "home", database_url=server.url(), settings=SETTINGS)
    for readings in SAMPLE.glob("readings-*"):
        shutil.copy(readings, deployment.home)
    deployment.erp.start()
    deployment.daemon.start()
    yield deployment
    deployment.close()


def book(deployment: Deployment, *months: str) -> None:
    """Imports the readings of these months; what they bill is not waited for."""
    deployment.do("import", "readings", *(f"readings-2026-{month}.csv.gz" for month in months))


def leave_open(deployment: Deployment) -> None:
    """All is calculated and offered; of October the ERP owes us its verdict."""
    deployment.do("import", "master", str(SAMPLE / "master.yaml"))
    book(deployment, "08", "09")
    wait_until(lambda: deployment.counts().get("registered") == 24)
    deployment.erp.add_fault(kind="initiated", seconds=86400)
    book(deployment, "10")
    wait_until(lambda: deployment.counts() == {"registered": 24, "initiated": 12})


def booked(at: Deployment, by: Deployment) -> None:
    """The ERP that was started in `at` gives its verdicts, and the daemon in `by` takes them."""
    at.erp.give_verdicts()
    settled(by, 36)


def settled(deployment: Deployment, number: int) -> None:
    """All is booked and the daemon calls it well; an alarm that came back may stand on for its minute."""

    def seen() -> bool:
        document = deployment.daemon.status()
        return bool(document["well"]) and document["invoices"] == {"registered": number}

    wait_until(seen, within_seconds=2 * WAIT_SECONDS)


def has_a_root(deployment: Deployment) -> bool:
    with deployment.database() as database, database.reading() as reader:
        return fetch_value(reader, "SELECT day FROM audit_roots") is not None


def test_a_backup_a_day_old_is_restored_and_nothing_is_billed_twice(
    deployment: Deployment, server: PostgresServer
) -> None:
    deployment.do("import", "master", str(SAMPLE / "master.yaml"))
    book(deployment, "08")
    wait_until(lambda: deployment.counts().get("registered") == 12)
    deployment.erp.stop()
    book(deployment, "09")
    wait_until(lambda: deployment.counts().get("sent"))
    wait_until(lambda: deployment.counts().get("due", 0) == 12)
    known = {}

    def a_day_passes() -> None:
        deployment.erp.start()
        book(deployment, "10")
        settled(deployment, 36)
        known.update(deployment.erp.ledger())

    def everything_is_booked() -> None:
        settled(deployment, 36)
        wait_until(lambda: has_a_root(deployment))  # which the restored daemon makes within seconds

    Operator(deployment, server).follow(
        chapter("### Backup and restore"),
        {"a day passes": a_day_passes, "everything is booked": everything_is_booked},
    )
    assert deployment.erp.ledger().keys() == known.keys()
    assert {invoice_id: each["bill_id"] for invoice_id, each in deployment.erp.ledger().items()} == {
        invoice["id"]: invoice["bill_id"] for invoice in deployment.json("invoices", "list")
    }


def test_an_upgrade_takes_over_what_the_old_daemon_had_begun(deployment: Deployment) -> None:
    leave_open(deployment)
    Operator(deployment).follow(
        chapter("### Upgrade"), {"everything is booked": lambda: booked(deployment, deployment)}
    )
    assert len(deployment.erp.ledger()) == 36


def test_daemon_and_database_move_to_another_server(
    deployment: Deployment, server: PostgresServer, cluster: Path, tmp_path: Path
) -> None:
    leave_open(deployment)
    other = PostgresServer.copy(cluster, tmp_path / "other-server")
    other.drop_database("billingd")
    operator = Operator(deployment, server)
    new = Deployment(tmp_path / "new-deployment", database_url=other.url(), settings=SETTINGS, erp=deployment.erp)

    def on_the_new_server() -> None:
        shutil.copy(deployment.home / "billingd.dump", new.home)
        operator.deployment, operator.server = new, other

    try:
        operator.follow(
            chapter("### Moving to another server"),
            {"on the new server": on_the_new_server, "everything is booked": lambda: booked(deployment, new)},
        )
        assert len(deployment.erp.ledger()) == 36
    finally:
        new.close()
        other.destroy()


def test_december_has_the_old_prices_and_january_the_new(tmp_path: Path, database_url: str) -> None:
    now = "2027-02-15T00:00:00Z"
    deployment = Deployment(tmp_path / "home", database_url=database_url, settings=SETTINGS, now=now)
    text = chapter("### A price change on 1 January")
    example = re.search(r"```yaml\n# (\S+)\n(.*?)```", text, re.S)
    assert example is not None
    (deployment.home / example[1]).write_text(example[2], "utf-8")
    try:
        deployment.erp.start()
        deployment.daemon.start()
        master, readings = write_load(deployment.home, users=2, first="2026-12", months=2)
        deployment.do("import", "master", str(master))
        wait_until(lambda: deployment.counts() == {"due": 4})
        Operator(deployment).follow(text, {"everything is booked": lambda: settled(deployment, 4)})
        assert readings.name in text
    finally:
        deployment.close()


def test_a_typing_error_in_the_master_data_is_undone(tmp_path: Path, database_url: str) -> None:
    now = "2026-11-15T00:00:00Z"
    deployment = Deployment(tmp_path / "home", database_url=database_url, settings=SETTINGS, now=now)
    text = chapter("### A typing error in the master data")
    example = re.search(r"```yaml\n# wrong.yaml\n(.*?)```", text, re.S)
    assert example is not None
    (deployment.home / "wrong.yaml").write_text(example[1], "utf-8")
    (deployment.home / "right.yaml").write_text(example[1].replace('"2006-10"', '"2026-10"'), "utf-8")

    def stand(*codes: str) -> Callable[[], None]:
        def wait() -> None:
            wait_until(
                lambda: [each["code"] for each in deployment.json("alarms", "list")] == list(codes),
                within_seconds=2 * WAIT_SECONDS,
            )

        return wait

    try:
        deployment.erp.start()
        deployment.daemon.start()
        for file, kind in zip(
            write_load(deployment.home, users=2, first="2026-10", months=1), ("master", "readings"), strict=True
        ):
            deployment.do("import", kind, str(file))
        settled(deployment, 2)
        Operator(deployment).follow(
            text, {"the alarm stands": stand("readings_incomplete"), "the alarm is cleared": stand()}
        )
        assert deployment.counts() == {"registered": 2, "aborted": 240}
        summaries = [each["summary"] for each in deployment.json("alarms", "list", "--all")]
        (one,) = [each for each in summaries if "2006-10" in each]
        assert one.startswith("240 invoices waiting for readings (2006-10 to 2026-09): ")
    finally:
        deployment.close()
