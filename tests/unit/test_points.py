"""The named points for drills: nothing in production, obedient in a drill."""

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from actors.points import OrderedError, _Points, point
from testkit.failpoints import Orders
from testkit.waiting import until


@dataclass
class Work:
    invoice_ids: tuple[str, ...]


def test_in_production_a_point_does_nothing_and_looks_at_no_folder(tmp_path: Path) -> None:
    Orders(tmp_path).give("anywhere", "raise")
    code = "from actors.points import point; point('anywhere'); print(point.__name__)"
    environment = {**os.environ, "BILLINGD_TEST_POINTS": str(tmp_path)}
    environment.pop("BILLINGD_TEST", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "_pass_by"
    point("anywhere")


def test_without_an_order_everybody_passes(tmp_path: Path) -> None:
    _Points(tmp_path)("here")


def test_an_order_for_once_is_obeyed_once(tmp_path: Path) -> None:
    orders = Orders(tmp_path)
    orders.give("here", "raise once")
    here = _Points(tmp_path)
    with pytest.raises(OrderedError):
        here("here")
    here("here")
    assert not orders.stands("here")


def test_an_order_for_an_invoice_leaves_the_others_alone(tmp_path: Path) -> None:
    Orders(tmp_path).give("here", "exit", ["NU-1.2026-10.1"])
    here = _Points(tmp_path)
    here("here", Work(("NU-2.2026-10.1",)))
    with pytest.raises(SystemExit):
        here("here", Work(("NU-2.2026-10.1", "NU-1.2026-10.1")))


def test_who_is_held_waits_for_the_order_to_change(tmp_path: Path) -> None:
    orders, here = Orders(tmp_path), _Points(tmp_path)
    orders.give("here", "hold 1")
    here("here")  # the first passes
    held = threading.Thread(target=here, args=("here",), daemon=True)
    held.start()
    assert until("the second is held", lambda: orders.reached("here"), 10) == 2
    assert held.is_alive()
    orders.take_back("here")
    held.join(10)
    assert not held.is_alive()
