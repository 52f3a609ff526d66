"""A wall clock is set while its program runs, the daemon's and the database's: nobody waits for the time that was."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from testkit.settable_clock import NOT_INSTALLED, library


@pytest.mark.skipif(library() is None, reason=NOT_INSTALLED)
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("variant", "state", "alarms", "further"),
    [
        ("clock_steps_back", "idle", set(), set()),
        ("clock_steps_forward", "calculated", {"clocks_disagree"}, set()),
        # What was stored meanwhile is ten years old once the clock is right: a look may see it before it moves on.
        ("database_clock_back", "initiated", {"clocks_disagree"}, {"invoice_overdue"}),
    ],
)
def test_item_9_a_clock_is_set_under_a_running_program(
    tmp_path: Path, variant: str, state: str, alarms: set[str], further: set[str]
) -> None:
    path = tmp_path / "drill.json"
    done = subprocess.run(
        [sys.executable, "-m", "cli", "drill", "--failure", "S1", "--variant", variant, "--state", state,
         "--json", str(path)],
        capture_output=True, text=True, timeout=220, check=False,
    )  # fmt: skip
    cells: list[dict[str, Any]] = json.loads(path.read_text())["cells"]
    (cell,) = cells
    assert cell["held"], f"{cell['reason']}: {done.stderr}"
    assert cell["met"]
    assert alarms <= {*cell["alarms_raised"]} <= alarms | further
