"""`make mutants`: each change is made, survivors are listed rightly, and a sample is killed."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from supervision.clock import system_randomness
from tests.mutation.__main__ import KNOWN, PARTS, SAMPLED, Result, judged, score
from tests.mutation.mutator import mutants, watched

SOURCE = '''
"""What it owns."""
LIMIT: int = 3
def f(a: int, b: str = "x") -> bool:
    """Says what."""
    if a < LIMIT and b:
        raise ValueError("no such thing")
    _log.debug("seen", a)
    g(a, key=b)
    return not any(c in "ab" for c in b)
'''
CHANGES = [
    "module: 3 => 4",
    "f: 'x' => 'XXx'",
    "f: a < LIMIT and b => a < LIMIT or b",
    "f: a < LIMIT => a <= LIMIT",
    "f: raise ValueError('no such thing') => pass",
    "f: g(a, key=b) => pass",
    "f: g(a, key=b) => g(a)",
    "f: not any((c in 'ab' for c in b)) => any((c in 'ab' for c in b))",
    "f: any((c in 'ab' for c in b)) => all((c in 'ab' for c in b))",
    "f: c in 'ab' => c not in 'ab'",
    "f: 'ab' => 'XXab'",
]


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "source.py").write_text(SOURCE)
    return str(tmp_path / "source.py")


def test_every_kind_of_change_is_made_once_and_nothing_else(source: str) -> None:
    found = mutants(source)
    assert [each.name for each in found] == CHANGES
    assert [each.name for each in found if each.on_import] == CHANGES[:2]
    assert len({compile(each.code, source, "exec").co_consts for each in found}) == len(CHANGES)


def test_a_statement_says_that_it_is_passed(source: str) -> None:
    passed: list[int] = []
    names = {"__passed__": passed.append, "_log": Counter(), "g": Counter}
    exec(compile(watched(source), source, "exec"), names)
    with pytest.raises(ValueError, match="no such thing"):
        names["f"](1, "x")  # type: ignore[operator]
    assert passed == [5, 6, 7]


@pytest.mark.parametrize("path", [path for paths, _ in PARTS.values() for path in paths])
def test_each_survivor_that_is_listed_is_a_mutant(path: str) -> None:
    _, problems = judged(path, mutants(path), {}, yaml.safe_load(KNOWN.read_text()))
    assert problems == []


def test_a_survivor_has_to_be_listed_and_what_is_killed_must_not_be(source: str) -> None:
    found = mutants(source)[:3]
    lives, equivalent, dies = (each.name for each in found)
    ends = {lives: None, equivalent: None, dies: "some::test"}
    stored = {(source, name): Result(source, name, "", by, 1, 0.0) for name, by in ends.items()}
    known: dict[str, dict[str, dict[str, list[str]]]]
    known = {"equivalent": {source: {"why": [equivalent]}}, "surviving": {source: {"why": []}}}
    counts, problems = judged(source, found, stored, known)
    assert problems == [f"{source}: survived: {lives}"]
    assert (counts, score(counts)) == (Counter(mutants=3, killed=1, equivalent=1, surviving=1), 0.5)
    known["surviving"][source]["why"] = [lives, dies, "f: 1 => 2"]
    _, problems = judged(source, found, stored, known)
    assert len(problems) == 2
    _, problems = judged(source, found, stored, known, whole=False)
    assert len(problems) == 1


@pytest.mark.timeout(320)
def test_a_sample_of_mutants_is_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("BILLINGD_TEST_SEED") or system_randomness().randrange(10**6))
    part = SAMPLED[seed % len(SAMPLED)]
    command = ["-m", "tests.mutation", part, "--sample", "20", "--seed", str(seed), "--json", str(tmp_path / "found")]
    run = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300, check=False)
    print(f"BILLINGD_TEST_SEED={seed}\n{run.stdout[-3000:]}{run.stderr[-3000:]}")
    assert run.returncode == 0
    assert (tmp_path / "found").read_text()
