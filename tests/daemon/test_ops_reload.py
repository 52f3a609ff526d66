"""The configuration of a running daemon, changed: what `billingd reload` and SIGHUP take, refuse and say."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.deployment import Deployment
from testkit.waiting import wait_until
from tests.support.sample import import_sample

pytestmark = pytest.mark.slow

FAST = {"poll_interval_seconds": 0.2, "retry": {"base_seconds": 0.2, "max_seconds": 1}}


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path / "home", settings={"erp": FAST})
    yield deployment
    deployment.close()


def couriers(deployment: Deployment) -> int:
    return str(deployment.daemon.status()["tree"]).count("'name': 'courier-")


def test_a_good_file_is_applied_while_work_goes_on(deployment: Deployment) -> None:
    deployment.erp.start()
    deployment.daemon.start()
    before = deployment.daemon.status()["configuration"]
    import_sample(deployment)
    deployment.configure({"erp": {**FAST, "max_in_flight": 20}, "work": {"max_attempts": 5}})
    assert deployment.do("reload").splitlines() == [
        "erp.max_in_flight: 16 -> 20",
        "work.max_attempts: 3 -> 5 (waits for a restart)",
    ]
    wait_until(lambda: couriers(deployment) == 20)
    after = deployment.daemon.status()["configuration"]
    assert after["sha256"] != before["sha256"]
    assert after["loaded_at"] > before["loaded_at"]
    wait_until(lambda: deployment.all_registered(36))
    assert deployment.do("reload") == "work.max_attempts: 3 -> 5 (waits for a restart)\n"
    wait_until(lambda: deployment.daemon.standing() == {})


def test_a_bad_file_changes_nothing_and_is_an_alarm_until_it_is_mended(deployment: Deployment) -> None:
    deployment.daemon.start()
    before = deployment.daemon.status()["configuration"]
    good = deployment.config_path.read_text("utf-8")
    deployment.config_path.write_text(f"erp_url: x\n{good}", "utf-8")
    refused = deployment.run("reload")
    assert refused.returncode == 1
    assert "line 1: erp_url: unknown key" in refused.stderr
    deployment.daemon.signal(signal.SIGHUP)
    alarm = wait_until(lambda: deployment.daemon.standing().get("configuration_rejected"))
    assert alarm is not None
    assert "line 1: erp_url: unknown key" in alarm["summary"]
    assert deployment.daemon.status()["configuration"] == before
    deployment.config_path.write_text(good, "utf-8")
    assert deployment.run("reload").returncode == 0
    wait_until(lambda: "configuration_rejected" not in deployment.daemon.standing())


def test_the_same_file_again_changes_nothing(deployment: Deployment) -> None:
    deployment.daemon.start()
    assert deployment.do("reload") == "nothing has changed\n"


def test_what_does_not_go_with_what_waits_for_a_restart_is_refused(deployment: Deployment) -> None:
    deployment.daemon.start()
    deployment.configure({"erp": {**FAST, "total_timeout_seconds": 50}, "work": {"lease_seconds": 120}})
    refused = deployment.run("reload")
    assert refused.returncode == 1
    assert "work.lease_seconds" in refused.stderr
    assert "its new value waits for a restart" in refused.stderr


def test_a_token_is_read_again_and_never_told(deployment: Deployment, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("geheim-alt")
    deployment.configure({"erp": {**FAST, "token_file": str(token)}})
    deployment.erp.start(token="geheim-neu")
    deployment.daemon.start()
    import_sample(deployment, "08")
    wait_until(lambda: deployment.daemon.standing().get("erp_credentials"))
    token.write_text("geheim-neu")
    assert deployment.run("reload").returncode == 0
    wait_until(lambda: deployment.counts().get("registered") == 12)
    wait_until(lambda: "erp_credentials" not in deployment.daemon.standing())
    token.unlink()
    refused = deployment.run("reload")
    assert refused.returncode == 1
    assert f"erp.token_file: cannot read the token file {token}" in refused.stderr
    shown = deployment.daemon.log() + refused.stderr + deployment.do("config", "show") + str(deployment.daemon.status())
    assert "geheim" not in shown


def test_nobody_is_there_to_reload(deployment: Deployment) -> None:
    refused = deployment.run("reload")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "no daemon runs in the state directory" in refused.stderr
