"""Signals that come while `run` still starts: kept from its first instruction on, and acted on."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from daemon.reload import FILE_NAME
from testkit.waiting import wait_until
from tests.support.sample import ROOT

SEED = int(os.environ.get("BILLINGD_TEST_SEED", "20261125"))
TIMES = 30 if os.environ.get("BILLINGD_DRILL") == "all" else 4
LONGEST_SECONDS = 1.5


def holds_signals(process: "subprocess.Popen[bytes]") -> bool:
    """Whether the process has come to its first instruction: the kernel shows the signals that it keeps."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    blocked = next(int(line.split()[1], 16) for line in lines if line.startswith("SigBlk"))
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool((blocked | caught) & 1 << signal.SIGHUP - 1)


def started(home: Path) -> "subprocess.Popen[bytes]":
    home.mkdir()
    document = {
        "state_dir": str(home),
        "database": {"url": "postgresql://nobody@127.0.0.1:1/none"},
        "erp": {"base_url": "http://127.0.0.1:1"},
        "ops": {"listen": "off"},
    }
    (home / "billingd.yaml").write_text(json.dumps(document))
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "--config", str(home / "billingd.yaml"), "run"], cwd=ROOT, stderr=log
        )
    wait_until(lambda: holds_signals(process), every_seconds=0.001)
    return process


@pytest.mark.timeout(300)
def test_a_signal_at_any_time_after_the_first_instruction_is_acted_on(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    print(f"seed {SEED}")
    for number in range(TIMES):
        home, delay = tmp_path / str(number), chance.uniform(0, LONGEST_SECONDS) if number else 0.0
        process = started(home)
        threading.Event().wait(delay)
        process.send_signal(signal.SIGHUP)
        outcome = home / FILE_NAME
        wait_until(outcome.exists, what=f"reloaded, SIGHUP after {delay:.3f} s")
        assert json.loads(outcome.read_text())["accepted"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        home, delay = tmp_path / f"{number} ended", chance.uniform(0, LONGEST_SECONDS) if number else 0.0
        process = started(home)
        threading.Event().wait(delay)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, f"SIGTERM after {delay:.3f} s"
        assert "stopped" in (home / "log").read_text()
