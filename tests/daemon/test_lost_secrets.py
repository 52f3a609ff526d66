"""Files of secrets that are lost while the daemon runs: what was read of them at the start goes on."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from testkit.deployment import Deployment
from testkit.waiting import wait_until
from tests.support.sample import SAMPLE


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [tmp_path / name for name in ("password", "erp-token", "webhook-token")]


@pytest.fixture
def deployment(tmp_path: Path, database_url: str, files: list[Path]) -> Iterator[Deployment]:
    password, erp_token, webhook_token = files
    url = urlsplit(database_url)
    password.write_text(url.password or "")
    for file in (erp_token, webhook_token):
        file.write_text("t0ken")
    settings = {
        "database": {
            "url": url._replace(netloc=f"{url.username}@{url.hostname}:{url.port}").geturl(),
            "password_file": str(password),
        },
        "erp": {"token_file": str(erp_token), "poll_interval_seconds": 0.2},
        "alarms": {"webhook_url": "http://127.0.0.1:9", "webhook_token_file": str(webhook_token)},
    }
    deployment = Deployment(tmp_path / "home", database_url=database_url, settings=settings)
    yield deployment
    deployment.close()


def seen(deployment: Deployment, what: str) -> datetime:
    with deployment.database() as database, database.transaction() as connection:
        found: datetime = connection.execute(text(f"SELECT {what}")).scalar_one()
    return found


@pytest.mark.timeout(180)
def test_item_8_an_actor_starts_again_without_the_files_of_secrets(
    deployment: Deployment, files: list[Path], tmp_path: Path
) -> None:
    failpoints = deployment.daemon.failpoints
    deployment.erp.start()
    deployment.daemon.start()
    kept = {file: file.read_text() for file in files}
    for file in files:
        file.unlink()
    actors = ("biller.receive", "db_writer.receive")
    for each in actors:
        failpoints.enable(each, "raise once")
    wait_until(lambda: not any(map(failpoints.is_enabled, actors)))
    crashed_at = seen(deployment, "clock_timestamp()")
    wait_until(lambda: seen(deployment, "(SELECT max(seen_at) FROM instances)") > crashed_at, within_seconds=20)
    refused = deployment.run("reload")
    assert refused.returncode == 1
    assert "no such file or directory" in refused.stderr
    for file, content in kept.items():
        file.write_text(content)
    deployment.do("import", "master", str(SAMPLE / "master.yaml"))
    deployment.do(
        "import", "readings", str(SAMPLE / "readings-2026-08.csv.gz"), str(SAMPLE / "readings-2026-09.csv.gz")
    )
    wait_until(lambda: deployment.counts().get("registered", 0) >= 12)
    assert deployment.run("reload").returncode == 0
