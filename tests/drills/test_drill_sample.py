"""A sample of the table of failures, turned round by a seed, and a short storm: real processes, real faults."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from drills.states import STATES
from drills.table import FAILURES
from supervision.clock import system_randomness

pytestmark = pytest.mark.slow

SAMPLE = 18
STORM_SECONDS = 20
# From the environment where a run is to be repeated.
SEED = os.environ.get("SEED") or str(system_randomness().randrange(10**6))


def drill(*options: str, seconds: int) -> subprocess.CompletedProcess[str]:
    """Runs the command as an operator would."""
    return subprocess.run(
        [sys.executable, "-m", "cli", "drill", "--seed", SEED, *options],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@pytest.mark.timeout(420)
def test_a_sample_with_each_failure_and_each_state_holds(tmp_path: Path) -> None:
    path = tmp_path / "drill.json"
    done = drill("--sample", str(SAMPLE), "--jobs", "4", "--json", str(path), seconds=400)
    cells: list[dict[str, Any]] = json.loads(path.read_text())["cells"]
    assert [cell for cell in cells if not cell["held"]] == [], f"seed {SEED}: {done.stderr}"
    assert done.returncode == 0
    assert len(cells) == SAMPLE
    assert {cell["failure"] for cell in cells} == set(FAILURES)
    assert {cell["state"] for cell in cells} == set(STATES)
    assert any(cell["met"] for cell in cells)
    assert f"{SAMPLE} cells, seed {SEED}" in done.stdout


@pytest.mark.timeout(300)
def test_a_short_storm_loses_and_doubles_nothing() -> None:
    done = drill("--storm", str(STORM_SECONDS), seconds=280)
    assert done.returncode == 0, f"seed {SEED}: {done.stdout}{done.stderr}"
    assert ": held" in done.stdout
