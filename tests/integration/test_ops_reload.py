"""The configuration of a running daemon, changed: what `billingd reload` and SIGHUP take, refuse and say."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.world import SAMPLE, World, eventually

FAST = {"poll_interval_seconds": 0.2, "retry": {"base_seconds": 0.2, "max_seconds": 1}}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "world", settings={"erp": FAST})
    yield world
    world.close()


def lanes(world: World) -> int:
    return str(world.status()["tree"]).count("'name': 'courier-")


def test_a_good_file_is_applied_while_work_goes_on(world: World) -> None:
    world.start_erp()
    world.start_daemon()
    before = world.status()["configuration"]
    world.import_sample()
    world.configure({"erp": {**FAST, "max_in_flight": 20}, "work": {"max_attempts": 5}})
    assert world.do("reload").splitlines() == [
        "erp.max_in_flight: 16 -> 20",
        "work.max_attempts: 3 -> 5 (waits for a restart)",
    ]
    eventually(lambda: lanes(world) == 20)
    after = world.status()["configuration"]
    assert after["sha256"] != before["sha256"]
    assert after["loaded_at"] > before["loaded_at"]
    eventually(lambda: world.all_registered(36))
    assert world.do("reload") == "work.max_attempts: 3 -> 5 (waits for a restart)\n"
    eventually(lambda: world.standing() == {})


def test_a_bad_file_changes_nothing_and_is_an_alarm_until_it_is_mended(world: World) -> None:
    world.start_daemon()
    before = world.status()["configuration"]
    good = world.config_path.read_text("utf-8")
    world.config_path.write_text(f"erp_url: x\n{good}", "utf-8")
    refused = world.run("reload")
    assert refused.returncode == 1
    assert "line 1: erp_url: unknown key" in refused.stderr
    assert world.daemon is not None
    world.daemon.send_signal(signal.SIGHUP)
    alarm = eventually(lambda: world.standing().get("configuration_rejected"))
    assert alarm is not None
    assert "line 1: erp_url: unknown key" in alarm["summary"]
    assert world.status()["configuration"] == before
    world.config_path.write_text(good, "utf-8")
    assert world.run("reload").returncode == 0
    eventually(lambda: "configuration_rejected" not in world.standing())


def test_the_same_file_again_changes_nothing(world: World) -> None:
    world.start_daemon()
    assert world.do("reload") == "nothing has changed\n"


def test_what_does_not_go_with_what_waits_for_a_restart_is_refused(world: World) -> None:
    world.start_daemon()
    world.configure({"erp": {**FAST, "total_timeout_seconds": 50}, "work": {"lease_seconds": 120}})
    refused = world.run("reload")
    assert refused.returncode == 1
    assert "work.lease_seconds" in refused.stderr
    assert "its new value waits for a restart" in refused.stderr


def test_a_token_is_read_again_and_never_told(world: World, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("geheim-alt")
    world.configure({"erp": {**FAST, "token_file": str(token)}})
    world.start_erp("--token", "geheim-neu")
    world.start_daemon()
    world.do("import", "master", str(SAMPLE / "master.yaml"))
    world.do("import", "readings", str(SAMPLE / "readings-2026-08.csv.gz"))
    eventually(lambda: world.standing().get("erp_credentials"))
    token.write_text("geheim-neu")
    assert world.run("reload").returncode == 0
    eventually(lambda: world.counts().get("registered") == 12)
    eventually(lambda: "erp_credentials" not in world.standing())
    token.unlink()
    refused = world.run("reload")
    assert refused.returncode == 1
    assert f"cannot read the token file {token} (key erp.token_file)" in refused.stderr
    shown = world.log() + refused.stderr + world.do("config", "show") + str(world.status())
    assert "geheim" not in shown


def test_nobody_is_there_to_reload(world: World) -> None:
    refused = world.run("reload")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "no daemon runs in the state directory" in refused.stderr
