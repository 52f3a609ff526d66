"""The webhook against a receiver that checks the API's description, fails, is slow, goes away and comes back."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alarming import webhook as webhook_module
from alarming.actor import NAME, AlarmActor, AlarmSettings, AlarmSnapshot
from alarming.catalogue import Code
from alarming.conditions import ConditionActive, ConditionCleared
from alarming.webhook import WebhookSettings
from supervision import ChildSpec, SupervisorSpec, System, SystemClock
from testkit.waiting import wait_until
from tests.support.alertmanager import Alertmanager


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_module, "_BACKOFF_SECONDS", (0.05, 0.2))


@pytest.fixture
def receiver() -> Iterator[Alertmanager]:
    receiver = Alertmanager()
    yield receiver
    receiver.close()


class AlarmTree:
    """The alarms with a webhook, under supervision."""

    def __init__(self, spool: Path, url: str, token: str | None = None) -> None:
        webhook = WebhookSettings(url, token, repeat_seconds=0.5)
        settings = AlarmSettings(raise_within_seconds=0.5, webhook=webhook)
        self.snapshot = AlarmSnapshot()

        def make() -> AlarmActor:
            return AlarmActor(
                instance="one", spool_path=spool, settings=settings, database=None, snapshot=self.snapshot
            )

        self.system = System(SupervisorSpec("root", children=(ChildSpec(NAME, make),)))
        self.system.start()

    def tell(self, message: object) -> None:
        self.system.tell(NAME, message)

    def standing(self) -> set[str]:
        return {record.code for record in self.snapshot.standing}


def starting(tmp_path: Path, url: str, token: str | None = None) -> AlarmTree:
    return AlarmTree(tmp_path / "alarms.jsonl", url, token)


def now() -> datetime:
    return SystemClock().wall()


def test_an_alarm_is_posted_repeated_and_resolved(tmp_path: Path, receiver: Alertmanager) -> None:
    tree = starting(tmp_path, receiver.url + "/", "s3cret")
    tree.tell(ConditionActive(Code.ERP_CREDENTIALS, "401 from the ERP"))
    wait_until(lambda: len(receiver.posts) >= 3, what="posted, and again and again")
    (alert,) = receiver.posts[0]
    assert alert["labels"] == {
        "alertname": "erp_credentials",
        "severity": "critical",
        "key": "one",
        "instance": "one",
        "job": "billingd",
    }
    assert alert["annotations"]["summary"] == "401 from the ERP"
    assert "erp.token_file" in alert["annotations"]["action"]
    assert {post[0]["startsAt"] for post in receiver.posts} == {alert["startsAt"]}
    ends_at = datetime.fromisoformat(alert["endsAt"])
    assert now() < ends_at < now() + timedelta(seconds=3), "it would end by itself if the daemon were gone"
    tree.tell(ConditionCleared(Code.ERP_CREDENTIALS))
    wait_until(lambda: not receiver.active(now()), what="resolved")
    assert datetime.fromisoformat(receiver.posts[-1][0]["endsAt"]) <= now()
    assert set(receiver.tokens) == {"Bearer s3cret"}
    assert receiver.wrong == []
    tree.system.stop(5)


def test_a_receiver_that_fails_gets_everything_once_it_is_well(tmp_path: Path, receiver: Alertmanager) -> None:
    receiver.status = 500
    tree = starting(tmp_path, receiver.url)
    tree.tell(ConditionActive(Code.ERP_CREDENTIALS, "401"))
    wait_until(lambda: "alarm_webhook_unreachable" in tree.standing(), what="that it fails is an alarm itself")
    tree.tell(ConditionCleared(Code.ERP_CREDENTIALS))
    tree.tell(ConditionActive(Code.CONFIGURATION_REJECTED, "line 3"))
    wait_until(lambda: "erp_credentials" not in tree.standing(), what="cleared")
    receiver.status = 200
    wait_until(lambda: receiver.active(now()) == {"configuration_rejected"}, what="what stands, and only that")
    assert "erp_credentials" in {alert["labels"]["alertname"] for post in receiver.posts for alert in post}
    wait_until(lambda: tree.standing() == {"configuration_rejected"}, what="its own alarm is cleared")
    assert receiver.wrong == []
    tree.system.stop(5)


def test_a_receiver_that_is_slow_is_in_nobodys_way(tmp_path: Path, receiver: Alertmanager) -> None:
    receiver.delay = threading.Event()
    tree = starting(tmp_path, receiver.url)
    tree.tell(ConditionActive(Code.ERP_CREDENTIALS, "401"))
    wait_until(lambda: "erp_credentials" in tree.standing(), what="raised")
    started = time.monotonic()
    tree.tell(ConditionActive(Code.ERP_UNREACHABLE, "no answer"))
    wait_until(lambda: "erp_unreachable" in tree.standing(), what="raised while a delivery hangs")
    assert time.monotonic() - started < 1.0
    receiver.delay.set()
    wait_until(lambda: receiver.active(now()) >= {"erp_credentials", "erp_unreachable"}, what="delivered")
    tree.system.stop(5)


def test_a_receiver_that_was_away_gets_what_stands(tmp_path: Path) -> None:
    gone = Alertmanager()
    port = gone.port
    gone.close()
    tree = starting(tmp_path, f"http://127.0.0.1:{port}/api/v2/alerts")
    tree.tell(ConditionActive(Code.ERP_CREDENTIALS, "401"))
    wait_until(lambda: "alarm_webhook_unreachable" in tree.standing(), what="raised")
    back = Alertmanager(port)
    wait_until(lambda: "erp_credentials" in back.active(now()), what="delivered")
    wait_until(lambda: tree.standing() == {"erp_credentials"}, what="cleared")
    assert back.wrong == []
    tree.system.stop(5)
    back.close()


def test_the_instants_are_those_of_the_api(tmp_path: Path, receiver: Alertmanager) -> None:
    tree = starting(tmp_path, receiver.url)
    tree.tell(ConditionActive(Code.ERP_CREDENTIALS, "401"))
    wait_until(lambda: bool(receiver.posts), what="posted")
    for name in ("startsAt", "endsAt"):
        assert receiver.posts[0][0][name].endswith("Z")
        assert datetime.fromisoformat(receiver.posts[0][0][name]).tzinfo == UTC
    tree.system.stop(5)
