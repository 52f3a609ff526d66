"""Proof that the drills can fail: each mutation of billingd is noticed by the cell that has to notice it.

It takes minutes, so it belongs to `make drill`: BILLINGD_DRILL=all.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.drills.mutations import MUTATIONS, Mutation
from tests.support.sample import ROOT

pytestmark = pytest.mark.slow

ROOMS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["root_packages"]
whole_drill = pytest.mark.skipif(os.environ.get("BILLINGD_DRILL") != "all", reason="belongs to make drill")


def play(tree: Path, cell: tuple[str, str, str]) -> tuple[int, dict[str, Any]]:
    """Runs one cell on a tree; gives the exit status and the cell as the JSON has it."""
    failure, variant, state = cell
    path = tree / "drill.json"
    done = subprocess.run(
        [sys.executable, "-m", "cli", "drill", "--failure", failure, "--variant", variant, "--state", state,
         "--json", str(path)],
        cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert path.exists(), done.stderr
    cells: list[dict[str, Any]] = json.loads(path.read_text())["cells"]
    (only,) = cells
    return done.returncode, only


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_each_mutation_still_fits_the_source(mutation: Mutation) -> None:
    assert (ROOT / mutation.path).read_text("utf-8").count(mutation.old) == 1


@whole_drill
@pytest.mark.timeout(500)
@pytest.mark.parametrize("cell", sorted({mutation.cell for mutation in MUTATIONS}), ids=" ".join)
def test_without_a_mutation_the_cell_holds(tree: Path, cell: tuple[str, str, str]) -> None:
    status, result = play(tree, cell)
    assert result["held"], result["reason"]
    assert result["met"]
    assert status == 0


@whole_drill
@pytest.mark.timeout(500)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_is_noticed(tree: Path, mutation: Mutation) -> None:
    source = tree / mutation.path
    source.write_text(source.read_text("utf-8").replace(mutation.old, mutation.new), "utf-8")
    status, result = play(tree, mutation.cell)
    assert not result["held"], "the drill holds though billingd is broken"
    assert re.search(mutation.because, result["reason"]), result["reason"]
    assert status == 1
