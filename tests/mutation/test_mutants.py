"""`make mutants`: survivors are listed rightly, and a module's mutants are killed."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.mutation.__main__ import SURVIVORS, Mutant, compared, score
from tests.support.sample import ROOT
from tests.test_tidy import ROOMS

SAMPLE = """[tool.mutmut]
source_paths = ["billing/identity.py"]
also_copy = ["billing"]
timeout_constant = 10.0
pytest_add_cli_args = ["--hypothesis-profile=mutants"]
pytest_add_cli_args_test_selection = ["tests/billing/test_billing_identity.py"]

"""


class Changed(Mutant):
    """One whose change is its name."""

    @property
    def change(self) -> str:
        return self.name


def test_a_survivor_has_to_be_listed_and_what_is_killed_must_not_be() -> None:
    kinds = ["killed", "surviving", "surviving", "refused"]
    mutants = [Changed("a.py", f"f: {number} => 0", kind) for number, kind in enumerate(kinds)]
    counts, wrong = compared(mutants, {"a.py": {"why": ["f: 1 => 0", "f: 0 => 0"]}, "not_judged.py": {"why": ["x"]}})
    assert counts == {"a.py": Counter(killed=1, surviving=1, equivalent=1, refused=1)}
    assert score(counts["a.py"]) == 0.5
    assert [each.partition(": ")[2] for each in wrong[:2]] == [
        "survived: f: 2 => 0 (f: 2 => 0)", f"{SURVIVORS.name} names what does not survive: f: 0 => 0",
    ]  # fmt: skip
    assert wrong[2:] == ["a.py: fewer than 95%"]


def test_what_was_not_judged_is_told() -> None:
    _, wrong = compared([Changed("a.py", "f: 1 => 0", "not checked")], {})
    assert wrong[0] == "a.py: not checked: f: 1 => 0"


def test_each_survivor_has_a_reason_and_a_module() -> None:
    for path, reasons in yaml.safe_load(SURVIVORS.read_text()).items():
        assert (ROOT / path).exists()
        assert all(reason and changes for reason, changes in reasons.items())


@pytest.mark.timeout(320)
def test_the_mutants_of_an_invoices_identity_are_killed(tmp_path: Path) -> None:
    for room in (*ROOMS, "tests"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    project = (ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(re.sub(r"(?ms)^\[tool.mutmut\].*?(?=^\[)", lambda _: SAMPLE, project))
    run = subprocess.run(
        [sys.executable, "-m", "tests.mutation"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    print(run.stdout[-3000:], run.stderr[-3000:])
    assert run.returncode == 0
    assert re.search(r"^all +5\d +5\d ", run.stdout, re.MULTILINE)
