"""What an operator types most does not wait for libraries that it has no use for."""

import subprocess
import sys
from pathlib import Path

import pytest

from persistence.connection.database import Database
from testkit.deployment import Deployment
from tests.support.invoice_rows import add_invoices, add_users

HEAVY = ("sqlalchemy", "alembic", "apscheduler", "httpx", "rich", "starlette", "jinja2", "asyncio")


@pytest.mark.parametrize(
    "typed", ["status", "invoices list", "invoices list --json", "invoices show NU-0001.2026-10.1", "alarms list"]
)
def test_looking_takes_the_driver_alone(typed: str, database: Database, database_url: str, tmp_path: Path) -> None:
    with database.transaction() as connection:
        add_users(connection, 1)
        add_invoices(connection, "due", range(1, 2))
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "cli", *typed.split()],
        env=Deployment(tmp_path, database_url=database_url).environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (3 if typed == "status" else 0), done.stderr  # no daemon runs
    imported = {line.rsplit("|", 1)[1].split(".")[0].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "pg8000" in imported
    assert not imported.intersection(HEAVY)
