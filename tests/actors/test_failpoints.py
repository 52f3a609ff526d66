"""The failpoints: nothing in production, active in a drill."""

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from actors.failpoints import FailpointError, _Failpoints, failpoint
from testkit.failpoints import Failpoints
from testkit.waiting import wait_until


@dataclass
class Work:
    invoice_ids: tuple[str, ...]


def test_in_production_a_failpoint_does_nothing_and_looks_at_no_folder(tmp_path: Path) -> None:
    Failpoints(tmp_path).enable("anywhere", "raise")
    code = "from actors.failpoints import failpoint; failpoint('anywhere'); print(failpoint.__name__)"
    environment = {**os.environ, "BILLINGD_TEST_POINTS": str(tmp_path)}
    environment.pop("BILLINGD_TEST", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "_disabled"
    failpoint("anywhere")


def test_without_an_action_everybody_passes(tmp_path: Path) -> None:
    _Failpoints(tmp_path)("here")


def test_an_action_for_once_is_taken_once(tmp_path: Path) -> None:
    failpoints = Failpoints(tmp_path)
    failpoints.enable("here", "raise once")
    here = _Failpoints(tmp_path)
    with pytest.raises(FailpointError):
        here("here")
    here("here")
    assert not failpoints.is_enabled("here")


def test_an_action_for_an_invoice_leaves_the_others_alone(tmp_path: Path) -> None:
    Failpoints(tmp_path).enable("here", "exit", ["NU-1.2026-10.1"])
    here = _Failpoints(tmp_path)
    here("here", Work(("NU-2.2026-10.1",)))
    with pytest.raises(SystemExit):
        here("here", Work(("NU-2.2026-10.1", "NU-1.2026-10.1")))


def test_who_is_held_waits_for_the_action_to_change(tmp_path: Path) -> None:
    failpoints, here = Failpoints(tmp_path), _Failpoints(tmp_path)
    failpoints.enable("here", "hold 1")
    here("here")  # the first passes
    held = threading.Thread(target=here, args=("here",), daemon=True)
    held.start()
    assert wait_until(lambda: failpoints.reached("here"), within_seconds=10, what="the second is held") == 2
    assert held.is_alive()
    failpoints.disable("here")
    held.join(10)
    assert not held.is_alive()
