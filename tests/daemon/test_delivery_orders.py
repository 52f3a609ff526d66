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
def world(tmp_path: Path, receiver: Alertmanager) -> Iterator[Deployment]:
    settings = {
        "billing": {"approval": "required"},
        "alarms": {"raise_within_seconds": 1, "webhook_url": receiver.url},
        "log": {"format": "json"},
    }
    world = Deployment(tmp_path / "world", settings=settings)
    yield world
    world.close()


def metrics(world: Deployment) -> str:
    with httpx.Client(transport=httpx.HTTPTransport(uds=f"{world.home}/ops.sock"), timeout=5) as client:
        return client.get("http://daemon/metrics").text


def records(world: Deployment, field: str) -> list[dict[str, Any]]:
    lines = world.daemon.log().splitlines()
    return [json.loads(line) for line in lines if field in line and line.startswith("{")]


def announced(receiver: Alertmanager) -> set[str]:
    alerts = [alert["labels"] for post in receiver.posts for alert in post]
    return {labels["key"] for labels in alerts if labels["alertname"] == "period_closed"}


def approve_in_a_pause(world: Deployment) -> None:
    assert "is paused until" in world.do("pause", "--for", "2h", "--reason", "ERP maintenance")
    wait_until(lambda: "delivery_paused" in world.daemon.standing())
    paused = world.daemon.standing()["delivery_paused"]
    assert (paused["severity"], paused["key"]) == ("warning", "delivery")
    assert paused["summary"].endswith(": ERP maintenance")
    shown = world.do("invoices", "approve", "--period", "2026-10", "--preview")
    assert f"{USERS} invoices wait for approval" in shown
    assert world.run("invoices", "approve", "--period", "2026-10").returncode == 64, "nobody can be asked"
    done = world.run("invoices", "approve", "--period", "2026-10", "--yes", "--reason", "looked at")
    assert (done.returncode, done.stderr) == (0, f"{USERS} approved\n")
    (approved,) = world.json("invoices", "show", ONE)
    assert approved["history"][-1]["reason"] == "approved: looked at"
    assert world.counts() == {"calculated": ALL}, "it is paused"
    assert world.erp.stats()["offers"] == {}


def resume_and_approve_the_rest(world: Deployment) -> None:
    assert world.do("resume", "--reason", "done early") == "delivery goes on\n"
    wait_until(lambda: world.counts() == {"calculated": USERS, "registered": USERS})
    wait_until(lambda: "delivery_paused" not in world.daemon.standing())
    assert world.do("resume") == "delivery was not paused\n"
    earlier = "user-00002.2026-09.1"
    world.do("invoices", "approve", earlier, "--yes")
    wait_until(lambda: world.counts() == {"calculated": USERS - 1, "registered": USERS + 1})
    assert earlier in world.erp.ledger()
    done = world.run("invoices", "approve", earlier, "--yes")
    assert (done.returncode, done.stderr) == (1, f"{earlier}: there is no such invoice that waits for approval\n")
    world.do("invoices", "approve", "--period", "2026-09", "--yes")
    wait_until(lambda: world.all_registered(ALL))


def see_the_months_closed(world: Deployment, receiver: Alertmanager) -> None:
    wait_until(lambda: len(records(world, "BILLINGD_PERIOD_CLOSED")) == MONTHS)
    listed = world.json("invoices", "list", "--period", "2026-09")
    told = {record["BILLINGD_PERIOD_CLOSED"]: record for record in records(world, "BILLINGD_PERIOD_CLOSED")}
    for name in ("total_eur", "tax_eur", "total_with_tax_eur"):
        total = sum(Decimal(each[name]) for each in listed)
        assert Decimal(told["2026-09"][f"BILLINGD_{name.upper()}"]) == total
    assert told["2026-09"]["BILLINGD_REGISTERED"] == str(USERS)
    wait_until(lambda: 'billingd_period_invoices{period="2026-09",state="registered"} 4.0' in metrics(world))
    wait_until(lambda: announced(receiver) == {"2026-09", "2026-10"})
    assert receiver.wrong == []
    wait_until(lambda: records(world, "BILLINGD_AUDIT_ROOT"))
    world.daemon.kill()
    world.daemon.start()
    wait_until(lambda: "billingd_period_closed_seconds{" in metrics(world))
    assert len(records(world, "BILLINGD_PERIOD_CLOSED")) == MONTHS, "it is told once"


def correct_one(world: Deployment, master: Path) -> None:
    """A price was wrong: the next revision is offered by the daemon, and the month is told of again."""
    changed = re.sub(r"meter_fee: .*", 'meter_fee: "9.99"', master.read_text("utf-8"))
    master.write_text(changed, "utf-8")
    world.do("import", "master", str(master))
    world.do("invoices", "correct", ONE, "--reason", "wrong fee")
    world.do("invoices", "approve", ONE.replace(".1", ".2"), "--yes")
    wait_until(lambda: world.all_registered(ALL + 1))
    wait_until(lambda: len(records(world, "BILLINGD_PERIOD_CLOSED")) == MONTHS + 1)
    assert records(world, "BILLINGD_PERIOD_CLOSED")[-1]["BILLINGD_REGISTERED"] == str(USERS + 1)
    assert world.run("reconcile").returncode == 0
    assert world.run("verify").returncode == 0


def export_adds_up(world: Deployment) -> None:
    listed = world.json("invoices", "list", "--period", "2026-10")
    rows = list(csv.DictReader(world.do("export", "--period", "2026-10").splitlines()))
    assert [row["invoice"] for row in rows] == [each["id"] for each in listed]
    for row, each in zip(rows, listed, strict=True):
        assert (row["bill_id"], row["total_with_tax_eur"]) == (each["bill_id"], each["total_with_tax_eur"])
        lines = sum(Decimal(value) for name, value in row.items() if name.startswith("line_"))
        assert lines == Decimal(row["total_eur"])
        assert len(row["oib"]) == 11


def test_nothing_leaves_without_approval_or_in_a_pause_and_the_closed_months_are_told_once(
    world: Deployment, receiver: Alertmanager, tmp_path: Path
) -> None:
    world.erp.start()
    world.daemon.start()
    master, readings = write_load(tmp_path / "load", users=USERS, first="2026-09", months=MONTHS)
    world.do("import", "master", str(master))
    world.do("import", "readings", str(readings))
    wait_until(lambda: world.counts() == {"calculated": ALL})
    approve_in_a_pause(world)
    resume_and_approve_the_rest(world)
    see_the_months_closed(world, receiver)
    correct_one(world, master)
    export_adds_up(world)
