"""Files of secrets that are lost while the daemon runs: what was read of them at the start goes on."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from tests.world import SAMPLE, World, eventually


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [tmp_path / name for name in ("password", "erp-token", "webhook-token")]


@pytest.fixture
def world(tmp_path: Path, database_url: str, files: list[Path]) -> Iterator[World]:
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
    world = World(tmp_path / "world", database_url=database_url, settings=settings)
    world.env["BILLINGD_TEST_POINTS"] = str(tmp_path)
    yield world
    world.close()


def seen(world: World, what: str) -> datetime:
    with world.database() as database, database.transaction() as connection:
        found: datetime = connection.execute(text(f"SELECT {what}")).scalar_one()
    return found


@pytest.mark.timeout(180)
def test_item_8_an_actor_starts_again_without_the_files_of_secrets(
    world: World, files: list[Path], tmp_path: Path
) -> None:
    world.start_erp()
    world.start_daemon()
    kept = {file: file.read_text() for file in files}
    for file in files:
        file.unlink()
    (tmp_path / "biller.receive.order").write_text("raise once")
    (tmp_path / "db_writer.receive.order").write_text("raise once")
    eventually(lambda: not list(tmp_path.glob("*.order")))
    crashed_at = seen(world, "clock_timestamp()")
    eventually(lambda: seen(world, "(SELECT max(seen_at) FROM instances)") > crashed_at, within_seconds=20)
    refused = world.run("reload")
    assert refused.returncode == 1
    assert "no such file or directory" in refused.stderr
    for file, content in kept.items():
        file.write_text(content)
    world.do("import", "master", str(SAMPLE / "master.yaml"))
    world.do("import", "readings", str(SAMPLE / "readings-2026-08.csv.gz"), str(SAMPLE / "readings-2026-09.csv.gz"))
    eventually(lambda: world.counts().get("registered", 0) >= 12)
    assert world.run("reload").returncode == 0
