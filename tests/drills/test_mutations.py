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

from supervision.clock import Randomness
from tests.drills.mutations import MUTATIONS, Mutation
from tests.drills.test_drill_sample import SEED
from tests.support.sample import ROOT

pytestmark = pytest.mark.slow

ROOMS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["root_packages"]
OF_CALLS = [mutation for mutation in MUTATIONS if mutation.calls is not None]
if os.environ.get("BILLINGD_FAULTS") != "all":
    OF_CALLS = Randomness(int(SEED)).sample(OF_CALLS, 1)
whole_drill = pytest.mark.skipif(os.environ.get("BILLINGD_DRILL") != "all", reason="belongs to make drill")


def drill(tree: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Runs a drill on a tree; gives its end and what it left as JSON."""
    path = tree / "drill.json"
    done = subprocess.run(
        [sys.executable, "-m", "cli", "drill", *arguments, "--json", str(path)],
        cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    return done, path.read_text() if path.exists() else ""


def play(tree: Path, cell: tuple[str, str, str]) -> tuple[int, dict[str, Any]]:
    """Runs one cell on a tree; gives the exit status and the cell as the JSON has it."""
    failure, variant, state = cell
    done, document = drill(tree, "--failure", failure, "--variant", variant, "--state", state)
    assert document, done.stderr
    cells: list[dict[str, Any]] = json.loads(document)["cells"]
    (only,) = cells
    return done.returncode, only


def mutate(tree: Path, mutation: Mutation) -> None:
    source = tree / mutation.path
    source.write_text(source.read_text("utf-8").replace(mutation.old, mutation.new), "utf-8")


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
@pytest.mark.parametrize("cell", sorted({mutation.cell for mutation in MUTATIONS if mutation.cell}), ids=" ".join)
def test_without_a_mutation_the_cell_holds(tree: Path, cell: tuple[str, str, str]) -> None:
    status, result = play(tree, cell)
    assert result["held"], result["reason"]
    assert result["met"]
    assert status == 0


@whole_drill
@pytest.mark.timeout(500)
@pytest.mark.parametrize("mutation", [each for each in MUTATIONS if each.cell], ids=lambda mutation: mutation.name)
def test_a_mutation_is_noticed(tree: Path, mutation: Mutation) -> None:
    mutate(tree, mutation)
    assert mutation.cell is not None, "those are chosen"
    status, result = play(tree, mutation.cell)
    assert not result["held"], "the drill holds though billingd is broken"
    assert re.search(mutation.because, result["reason"]), result["reason"]
    assert status == 1


@pytest.mark.timeout(500)
@pytest.mark.parametrize("mutation", OF_CALLS, ids=lambda mutation: mutation.name)
def test_a_mutation_is_noticed_by_the_calls(tree: Path, mutation: Mutation) -> None:
    mutate(tree, mutation)
    done, document = drill(tree, "--calls", "--case", mutation.calls or "^$", "--jobs", "2")
    reasons = [each["reason"] for each in map(json.loads, document.splitlines()) if not each["held"]]
    assert done.returncode != 0, "the drill holds though billingd is broken"
    # Some fail without a fault as well.
    assert re.search(mutation.calls_because, "\n".join([*reasons, done.stderr])), (reasons, done.stderr)
