"""A state directory on a disk that is full, for real: alarms still reach the log, and billing goes on."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.deployment import Deployment
from testkit.waiting import wait_until
from tests.support.small_load import write_load

DISK_BYTES = 256 * 1024


@pytest.fixture
def deployment(tmp_path: Path, database_url: str) -> Iterator[Deployment]:
    """A deployment whose state directory is a small file system of its own, and whose database lives elsewhere."""
    deployment = Deployment(
        tmp_path / "home",
        database_url=database_url,
        settings={"erp": {"breaker": {"failure_threshold": 2, "reset_seconds": 2}}, "log": {"format": "json"}},
    )
    deployment.state.mkdir(mode=0o700)
    disk = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", str(deployment.state)]
    if subprocess.run(disk, check=False, capture_output=True).returncode != 0:
        pytest.skip("no permission to mount a small file system here")
    yield deployment
    deployment.close()
    subprocess.run(["umount", str(deployment.state)], check=True)


def fill(path: Path) -> None:
    def write_on() -> None:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(512))

    with pytest.raises(OSError, match="No space left"):
        write_on()


def test_with_no_room_for_the_spool_alarms_reach_the_log_and_everybody_is_billed(
    deployment: Deployment, tmp_path: Path
) -> None:
    master, readings = write_load(tmp_path / "load", users=10, first="2026-09", months=2)
    deployment.do("import", "master", str(master))
    deployment.daemon.start()
    filler = deployment.state / "filler"
    fill(filler)
    deployment.do("import", "readings", str(readings))
    wait_until(lambda: {"erp_unreachable", "alarm_spool_unwritable"} <= deployment.daemon.standing().keys())
    assert "erp_unreachable" not in (deployment.state / "alarms.jsonl").read_text(), "there was no room for it"
    assert '"BILLINGD_ALARM_CODE": "erp_unreachable"' in deployment.daemon.log()
    assert '"BILLINGD_ALARM_CODE": "alarm_spool_unwritable"' in deployment.daemon.log()
    deployment.erp.start()
    wait_until(lambda: deployment.all_registered(20))
    wait_until(lambda: deployment.daemon.standing().keys() == {"alarm_spool_unwritable"})
    filler.unlink()
    wait_until(lambda: deployment.daemon.standing() == {})
    assert deployment.daemon.stop() == 0


@pytest.mark.timeout(300)
def test_a_state_directory_that_is_read_only_or_full_keeps_nobody_from_billing(
    deployment: Deployment, tmp_path: Path
) -> None:
    master, readings = write_load(tmp_path / "load", users=10, first="2026-09", months=2)
    deployment.do("import", "master", str(master))
    deployment.do("import", "readings", str(readings))
    deployment.erp.start()
    subprocess.run(["mount", "-o", "remount,ro", str(deployment.state)], check=True)
    deployment.daemon.start()
    wait_until(lambda: deployment.all_registered(20))
    wait_until(lambda: "alarm_spool_unwritable" in deployment.daemon.standing())
    assert deployment.daemon.stop() == 0
    subprocess.run(["mount", "-o", "remount,rw", str(deployment.state)], check=True)
    fill(deployment.state / "filler")
    deployment.daemon.start()
    assert deployment.daemon.stop() == 0
