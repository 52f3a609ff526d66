"""A real daemon under a person's orders: it waits for approval and through a pause, then closes the months."""

import csv
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from testkit.deployment import Deployment
from testkit.waiting import wait_until
from tests.support.alertmanager import Alertmanager
from tests.support.small_load import write_load

pytestmark = pytest.mark.slow

USERS, MONTHS = 4, 2
ALL = USERS * MONTHS
ONE = "user-00001.2026-10.1"


@pytest.fixture
def receiver() -> Iterator[Alertmanager]:
    receiver = Alertmanager()
    yield receiver
    receiver.close()


@pytest.fixture
def deployment(tmp_path: Path, receiver: Alertmanager) -> Iterator[Deployment]:
    settings = {
        "billing": {"approval": "required"},
        "alarms": {"raise_within_seconds": 1, "webhook_url": receiver.url},
        "log": {"format": "json"},
    }
    deployment = Deployment(tmp_path / "home", settings=settings)
    yield deployment
    deployment.close()


def metrics(deployment: Deployment) -> str:
    with httpx.Client(transport=httpx.HTTPTransport(uds=f"{deployment.home}/ops.sock"), timeout=5) as client:
        return client.get("http://daemon/metrics").text


def records(deployment: Deployment, field: str) -> list[dict[str, Any]]:
    lines = deployment.daemon.log().splitlines()
    return [json.loads(line) for line in lines if field in line and line.startswith("{")]


def announced(receiver: Alertmanager, name: str) -> set[str]:
    alerts = [alert["labels"] for post in receiver.posts for alert in post]
    return {labels["key"] for labels in alerts if labels["alertname"] == name}


def approve_in_a_pause(deployment: Deployment) -> None:
    assert "is paused until" in deployment.do("pause", "--for", "2h", "--reason", "ERP maintenance")
    wait_until(lambda: "delivery_paused" in deployment.daemon.standing())
    paused = deployment.daemon.standing()["delivery_paused"]
    assert (paused["severity"], paused["key"]) == ("warning", "delivery")
    assert paused["summary"].endswith(": ERP maintenance")
    shown = deployment.do("invoices", "approve", "--period", "2026-10", "--preview")
    assert f"{USERS} invoices wait for approval" in shown
    assert deployment.run("invoices", "approve", "--period", "2026-10").returncode == 64, "nobody can be asked"
    done = deployment.run("invoices", "approve", "--period", "2026-10", "--yes", "--reason", "looked at")
    assert (done.returncode, done.stderr) == (0, f"{USERS} approved\n")
    (approved,) = deployment.json("invoices", "show", ONE)
    assert approved["history"][-1]["reason"] == "approved: looked at"
    assert deployment.counts() == {"calculated": ALL}, "it is paused"
    assert deployment.erp.stats()["offers"] == {}


def resume_and_approve_the_rest(deployment: Deployment) -> None:
    assert deployment.do("resume", "--reason", "done early") == "delivery goes on\n"
    wait_until(lambda: deployment.counts() == {"calculated": USERS, "registered": USERS})
    wait_until(lambda: "delivery_paused" not in deployment.daemon.standing())
    assert deployment.do("resume") == "delivery was not paused\n"
    earlier = "user-00002.2026-09.1"
    deployment.do("invoices", "approve", earlier, "--yes")
    wait_until(lambda: deployment.counts() == {"calculated": USERS - 1, "registered": USERS + 1})
    assert earlier in deployment.erp.ledger()
    done = deployment.run("invoices", "approve", earlier, "--yes")
    assert (done.returncode, done.stderr) == (1, f"{earlier}: there is no such invoice that waits for approval\n")
    deployment.do("invoices", "approve", "--period", "2026-09", "--yes")
    wait_until(lambda: deployment.all_registered(ALL))


def see_the_months_closed(deployment: Deployment, receiver: Alertmanager) -> None:
    wait_until(lambda: len(records(deployment, "BILLINGD_PERIOD_CLOSED")) == MONTHS)
    listed = deployment.json("invoices", "list", "--period", "2026-09")
    told = {record["BILLINGD_PERIOD_CLOSED"]: record for record in records(deployment, "BILLINGD_PERIOD_CLOSED")}
    for name in ("total_eur", "tax_eur", "total_with_tax_eur"):
        total = sum(Decimal(each[name]) for each in listed)
        assert Decimal(told["2026-09"][f"BILLINGD_{name.upper()}"]) == total
    assert told["2026-09"]["BILLINGD_REGISTERED"] == str(USERS)
    wait_until(lambda: 'billingd_period_invoices{period="2026-09",state="registered"} 4.0' in metrics(deployment))
    wait_until(lambda: announced(receiver, "period_closed") == {"2026-09", "2026-10"})
    assert receiver.wrong == []
    wait_until(lambda: records(deployment, "BILLINGD_AUDIT_ROOT"))
    days = {record["BILLINGD_AUDIT_DAY"] for record in records(deployment, "BILLINGD_AUDIT_ROOT")}
    wait_until(lambda: announced(receiver, "audit_root") >= days)
    deployment.daemon.kill()
    deployment.daemon.start()
    wait_until(lambda: "billingd_period_closed_seconds{" in metrics(deployment))
    assert len(records(deployment, "BILLINGD_PERIOD_CLOSED")) == MONTHS, "it is told once"


def correct_one(deployment: Deployment, master: Path) -> None:
    """A price was wrong: the next revision is offered by the daemon, and the month is told of again."""
    changed = re.sub(r"meter_fee: .*", 'meter_fee: "9.99"', master.read_text("utf-8"))
    master.write_text(changed, "utf-8")
    deployment.do("import", "master", str(master))
    deployment.do("invoices", "correct", ONE, "--reason", "wrong fee")
    deployment.do("invoices", "approve", ONE.replace(".1", ".2"), "--yes")
    wait_until(lambda: deployment.all_registered(ALL + 1))
    wait_until(lambda: len(records(deployment, "BILLINGD_PERIOD_CLOSED")) == MONTHS + 1)
    assert records(deployment, "BILLINGD_PERIOD_CLOSED")[-1]["BILLINGD_REGISTERED"] == str(USERS + 1)
    assert deployment.run("reconcile").returncode == 0
    assert deployment.run("verify").returncode == 0


def export_adds_up(deployment: Deployment) -> None:
    listed = deployment.json("invoices", "list", "--period", "2026-10")
    rows = list(csv.DictReader(deployment.do("export", "--period", "2026-10").splitlines()))
    assert [row["invoice"] for row in rows] == [each["id"] for each in listed]
    for row, each in zip(rows, listed, strict=True):
        assert (row["bill_id"], row["total_with_tax_eur"]) == (each["bill_id"], each["total_with_tax_eur"])
        lines = sum(Decimal(value) for name, value in row.items() if name.startswith("line_"))
        assert lines == Decimal(row["total_eur"])
        assert len(row["oib"]) == 11


def test_nothing_leaves_without_approval_or_in_a_pause_and_the_closed_months_are_told_once(
    deployment: Deployment, receiver: Alertmanager, tmp_path: Path
) -> None:
    deployment.erp.start()
    deployment.daemon.start()
    master, readings = write_load(tmp_path / "load", users=USERS, first="2026-09", months=MONTHS)
    deployment.do("import", "master", str(master))
    deployment.do("import", "readings", str(readings))
    wait_until(lambda: deployment.counts() == {"calculated": ALL})
    approve_in_a_pause(deployment)
    resume_and_approve_the_rest(deployment)
    see_the_months_closed(deployment, receiver)
    correct_one(deployment, master)
    export_adds_up(deployment)
