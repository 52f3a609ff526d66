"""The last words that are said for a daemon: kept where the next one, or nobody, comes by."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from alarming.spool import Entry, Spool
from testkit.deployment import Deployment
from testkit.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path / "home", settings={})
    yield deployment
    deployment.close()


def spooled(deployment: Deployment) -> list[Entry]:
    path = deployment.state / "alarms.jsonl"
    return list(Spool(path).entries.values()) if path.exists() else []


def test_they_are_in_log_and_spool_and_the_next_daemon_clears_them(deployment: Deployment) -> None:
    said = deployment.run("last-words", "billingd:watchdog:killed:ABRT")
    assert said.returncode == 0
    assert "daemon_was_down raised: billingd proved no progress for too long" in said.stderr
    (entry,) = spooled(deployment)
    assert (entry.record.code, entry.logged, entry.stored) == ("daemon_was_down", True, False)
    assert entry.record.context["result"] == "watchdog"
    deployment.daemon.start()
    wait_until(lambda: "daemon_was_down cleared" in deployment.daemon.log())
    wait_until(lambda: deployment.daemon.standing() == {})


def test_a_second_end_is_the_same_alarm(deployment: Deployment) -> None:
    for how in ("signal:killed:KILL", "exit-code:exited:1"):
        assert deployment.run("last-words", f"billingd:{how}").returncode == 0
    (entry,) = spooled(deployment)
    assert entry.record.count == 2
    assert entry.record.summary.startswith("billingd ended with status 1")


def test_a_unit_of_onfailure_is_told_by_its_environment(deployment: Deployment) -> None:
    deployment.environment |= {"MONITOR_SERVICE_RESULT": "oom-kill", "MONITOR_EXIT_STATUS": "KILL"}
    said = deployment.run("last-words", "billingd")
    assert "billingd was ended because memory ran out" in said.stderr
    assert spooled(deployment)[0].record.context["exit_status"] == "KILL"


def test_a_configuration_that_cannot_be_used_keeps_nobody_silent(deployment: Deployment) -> None:
    deployment.config_path.write_text("erp: [")
    deployment.state.mkdir()
    deployment.environment["STATE_DIRECTORY"] = str(deployment.state)
    assert deployment.run("last-words", "billingd:exit-code:exited:1").returncode == 0
    assert [entry.record.code for entry in spooled(deployment)] == ["daemon_was_down"]


def test_they_do_not_write_into_a_living_daemons_spool(deployment: Deployment) -> None:
    deployment.daemon.start()
    before = (deployment.state / "alarms.jsonl").read_bytes()
    said = deployment.run("last-words", "billingd:signal:killed:KILL")
    assert said.returncode == 0
    assert "no alarm is kept of it: the state directory" in said.stderr
    assert (deployment.state / "alarms.jsonl").read_bytes() == before
