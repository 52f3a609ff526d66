"""A daemon whose certificates for the ERP can't be used: refused at the start, an alarm later, no invoice's fault."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from testkit.deployment import Deployment
from testkit.waiting import wait_until
from tests.support.sample import ROOT
from tests.support.small_load import write_load

GOOD = ROOT / "testkit" / "certificates" / "trusted.pem"
USERS, MONTHS = 30, 2
FAST = {"poll_interval_seconds": 0.2, "retry": {"base_seconds": 0.2, "max_seconds": 1}}


@pytest.fixture
def trusted(tmp_path: Path) -> Path:
    return Path(shutil.copy(GOOD, tmp_path / "ca.pem"))


@pytest.fixture
def deployment(tmp_path: Path, trusted: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path / "home", settings={"erp": {**FAST, "ca_file": str(trusted)}})
    yield deployment
    deployment.close()


def test_item_8_check_config_and_run_refuse_an_unusable_file(deployment: Deployment, trusted: Path) -> None:
    trusted.write_text("no certificate")
    checked, ran = deployment.run("check-config"), deployment.run("run")
    said = f"erp.ca_file: cannot use the certificate file {trusted}: it holds no certificate in PEM form"
    assert (checked.returncode, ran.returncode) == (2, 1)
    assert said in checked.stdout
    assert said in ran.stderr


def test_item_8_a_reload_with_an_unusable_file_changes_nothing(
    deployment: Deployment, trusted: Path, tmp_path: Path
) -> None:
    deployment.daemon.start()
    before = deployment.daemon.status()["configuration"]
    missing = tmp_path / "missing.pem"
    deployment.configure({"erp": {**FAST, "ca_file": str(missing), "max_in_flight": 3}})
    refused = deployment.run("reload")
    assert refused.returncode == 1
    assert f"cannot use the certificate file {missing}: no such file or directory" in refused.stderr
    alarm = wait_until(lambda: deployment.daemon.standing().get("configuration_rejected"))
    assert alarm is not None
    assert str(missing) in alarm["summary"]
    assert deployment.daemon.status()["configuration"] == before
    deployment.configure({"erp": {**FAST, "ca_file": str(trusted)}})
    assert deployment.run("reload").returncode == 0
    wait_until(lambda: "configuration_rejected" not in deployment.daemon.standing())


def rows(deployment: Deployment, sql: str) -> list[tuple[object, ...]]:
    with deployment.database() as database, database.transaction() as connection:
        return [tuple(row) for row in connection.execute(text(sql)).all()]


@pytest.mark.timeout(300)
def test_item_8_a_daemon_without_certificates_holds_nobody_beside_one_that_delivers(
    tmp_path: Path, trusted: Path, database_url: str
) -> None:
    """Whose bookings are witnesses for whom is another matter: this holds with and without witnesses of others."""
    well = Deployment(
        tmp_path / "a", database_url=database_url, settings={"instance": "a", "erp": {**FAST, "max_in_flight": 2}}
    )
    url = well.erp.base_url
    broken = Deployment(
        tmp_path / "b",
        database_url=database_url,
        settings={
            "instance": "b",
            "erp": {**FAST, "base_url": url, "ca_file": str(trusted)},
            "alarms": {"raise_within_seconds": 1},
        },
    )
    try:
        well.erp.start()
        broken.daemon.start()
        trusted.write_text("no certificate")
        master, readings = write_load(tmp_path / "load", users=USERS, first="2026-09", months=MONTHS)
        broken.do("import", "master", str(master))
        broken.do("import", "readings", str(readings))
        alarm = wait_until(lambda: broken.daemon.standing().get("erp_trust_unusable"))
        assert alarm is not None
        assert f"cannot use the certificate file {trusted}" in alarm["summary"]
        assert "actor_crashed" not in broken.daemon.standing()
        wait_until(lambda: broken.daemon.status()["erp"]["state"] == "local")
        assert broken.daemon.status()["erp"]["breaker"] == "closed"
        well.daemon.start()
        wait_until(lambda: well.all_registered(USERS * MONTHS), within_seconds=120)
        counted = "SELECT id FROM invoices WHERE crash_count > 0 OR failures > 0 OR batch_limit IS NOT NULL"
        assert rows(well, counted) == []
        assert rows(well, "SELECT 1 FROM invoice_history WHERE to_state = 'held' OR reason LIKE '%crash%'") == []
        trusted.write_bytes(GOOD.read_bytes())
        wait_until(lambda: broken.daemon.standing() == {})
        wait_until(lambda: broken.daemon.status()["erp"]["state"] == "reachable")
    finally:
        well.close()
        broken.close()
