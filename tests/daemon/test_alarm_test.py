"""`billingd alarms test` and the test by schedule, with a running daemon and Debian's Alertmanager."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from testkit.deployment import Deployment
from testkit.postgres import PostgresServer
from testkit.waiting import wait_until
from tests.support.alertmanager import active, alerts, real_alertmanager
from tests.support.dead_man import DeadManSwitch

OF_THE_DAEMON = ["spool", "log", "table"]
FAILED = "alarm_test_failed"


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[str]:
    with real_alertmanager(tmp_path / "alertmanager") as url:
        yield url


@pytest.fixture
def deployment(tmp_path: Path, database_url: str, alertmanager: str) -> Iterator[Deployment]:
    with closing(Deployment(tmp_path / "home", database_url=database_url)) as deployment:
        configure(deployment, webhook_url=alertmanager)
        deployment.erp.start()
        yield deployment


def configure(deployment: Deployment, **alarms: Any) -> None:
    deployment.configure({"alarms": {"raise_within_seconds": 1, **alarms}})


def try_out(deployment: Deployment) -> tuple[int, dict[str, str | None]]:
    """The exit status, and each place with its problem; prints the seconds."""
    done = deployment.run("alarms", "test", "--json")
    found = json.loads(done.stdout)
    print([(one["place"], one["seconds"]) for one in found])
    return done.returncode, {one["place"]: one["problem"] for one in found if one["seconds"] or one["problem"]}


def alarm_test_ends(alertmanager: str) -> bool:
    """Whether it lives a minute: long enough that people are told, and over by itself."""
    (lives,) = [
        datetime.fromisoformat(each["endsAt"]) - datetime.fromisoformat(each["startsAt"])
        for each in alerts(alertmanager) if each["labels"]["alertname"] == "alarm_test"
    ]  # fmt: skip
    return timedelta(minutes=1) <= lives <= timedelta(minutes=2)  # a second one in its time prolongs it


def test_a_test_alarm_arrives_everywhere_and_is_over(deployment: Deployment, alertmanager: str) -> None:
    deployment.daemon.start()
    for _ in range(2):
        assert try_out(deployment) == (0, dict.fromkeys([*OF_THE_DAEMON, "webhook", "Alertmanager"]))
        assert alarm_test_ends(alertmanager)
        assert deployment.daemon.standing() == {}
    every = [each["code"] for each in deployment.json("alarms", "list", "--all")]
    assert every.count("alarm_test") == 2, "a second test is not the first again"
    lines = deployment.do("alarms", "test").splitlines()
    assert [line.split()[0] for line in lines] == ["place", *OF_THE_DAEMON, "webhook", "Alertmanager", "journal"]
    assert lines[-1].endswith("not tried"), "the daemon is no service here"


def test_a_misrouted_webhook_is_found_told_and_heard_of(deployment: Deployment, alertmanager: str) -> None:
    with closing(DeadManSwitch(2)) as elsewhere, closing(DeadManSwitch(2)) as switch:
        here = {"heartbeat_url": switch.url, "heartbeat_seconds": 0.5}
        configure(deployment, webhook_url=elsewhere.url, **here)
        deployment.daemon.start()
        switch.wait_until_quiet()
        status, problems = try_out(deployment)
        assert status == 1
        assert problems == {
            **dict.fromkeys([*OF_THE_DAEMON, "webhook"]), "Alertmanager": "what answers there is no Alertmanager",
        }  # fmt: skip
        wait_until(lambda: switch.speaks_up, what="the switch hears of it")
        assert deployment.daemon.status()["heartbeat"]["problem"] == "held back: a test alarm did not arrive"
        assert "Alertmanager: what answers" in deployment.daemon.standing()[FAILED]["summary"]
        configure(deployment, webhook_url=alertmanager, **here)
        deployment.do("reload")
        assert try_out(deployment)[0] == 0
        wait_until(lambda: FAILED not in deployment.daemon.standing())
        switch.wait_until_quiet()


def test_what_is_away_is_named_and_the_others_are_tried(
    tmp_path: Path, server: PostgresServer, alertmanager: str
) -> None:
    with closing(Deployment(tmp_path / "home", database_url=server.url())) as deployment:
        configure(deployment, webhook_url=alertmanager)
        deployment.erp.start()
        deployment.daemon.start()
        server.stop()
        status, problems = try_out(deployment)
        assert (status, [place for place, problem in problems.items() if problem]) == (1, ["table"])
        wait_until(lambda: FAILED in active(alertmanager), what="that it failed is an alarm where alarms still go")


def test_without_the_daemon_the_webhook_is_tried(deployment: Deployment, alertmanager: str) -> None:
    done = deployment.run("alarms", "test")
    assert (done.returncode, "only the webhook can be tried" in done.stderr) == (0, True)
    assert "Alertmanager" in done.stdout
    assert alarm_test_ends(alertmanager)
    configure(deployment, webhook_url="http://127.0.0.1:9")
    assert try_out(deployment) == (1, {
        "webhook": "[Errno 111] Connection refused after 0.0 s", "Alertmanager": "the webhook has not taken it",
    })  # fmt: skip


def test_the_test_runs_by_its_schedule(tmp_path: Path, database_url: str, alertmanager: str) -> None:
    at = "2026-11-15T07:59:40Z"  # 08:59:40 in the billing time zone
    with closing(Deployment(tmp_path / "home", database_url=database_url, now=at)) as deployment:
        configure(deployment, webhook_url=alertmanager, self_test="0 9 * * *")
        deployment.erp.start()
        deployment.daemon.start()
        wait_until(lambda: "the test of the alarms: spool" in deployment.daemon.log(), what="it was tested")
        assert deployment.daemon.log().count("the test of the alarms: spool") == 1
