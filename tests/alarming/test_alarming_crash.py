"""An alarm outlives kill -9 between any two of its steps: afterwards there is one, with the same id."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from persistence.connection.database import Database
from tests.support.sample import ROOT

POINTS = ("decided", "spooled", "logged", "noted", "storing", "uncommitted", "stored")


def run(tmp_path: Path, url: str, phase: str, point: str, tells: str) -> int:
    files = [str(tmp_path / "alarms.jsonl"), str(tmp_path / "log.jsonl")]
    command = [sys.executable, "-m", "tests.alarming.alarming_process", *files, url, phase, point, tells]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("phase", ["raise", "clear"])
def test_killed_between_two_steps_it_is_the_same_alarm_once(
    tmp_path: Path, database_url: str, database: Database, phase: str, point: str
) -> None:
    assert run(tmp_path, database_url, phase, point, "trouble") == -signal.SIGKILL
    # The cause still stands when it struck while raising, and is gone when it struck while clearing.
    assert run(tmp_path, database_url, "never", "", "trouble" if phase == "raise" else "fine") == 0
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    raised = [alarm_id for state, alarm_id in lines if state == "raised"]
    cleared = [alarm_id for state, alarm_id in lines if state == "cleared"]
    with database.transaction() as connection:
        rows = connection.execute(text("SELECT id, cleared_at FROM alarms WHERE code = 'erp_credentials'")).all()
    ((alarm_id, cleared_at),) = rows
    assert cleared_at is not None
    assert {alarm_id} == set(raised) == set(cleared)
    assert len(raised) <= 2
    assert len(cleared) <= 2
