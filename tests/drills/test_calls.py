"""A sample of the calls to the outside, each failed in one way: a real daemon, a real PostgreSQL, a real HTTP ERP."""

import json
from pathlib import Path

import pytest

from drills.calls.cases import FAULTS, KILLED_AFTER, Case, Plan, cases_of
from tests.drills.test_drill_sample import SEED, drill

SAMPLE = 10


def test_each_fault_comes_to_each_call_once() -> None:
    calls = {"sql: biller: commit": 2, "thread: main: start": 1}
    cases = list(cases_of(calls, seed=3))
    assert len(set(cases)) == len(cases) == 2 * len(FAULTS["sql"]) + len(FAULTS["thread"])


def test_a_fault_comes_to_the_call_of_its_number_and_to_no_other() -> None:
    plan = Plan(Case("sql: biller: commit", 2, KILLED_AFTER))
    met = [plan.arrive(site) for site in ("sql: biller: commit", "fsync", "sql: biller: commit", "sql: biller: commit")]
    assert met == [None, None, KILLED_AFTER, None]
    assert plan.reached == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_sample_of_calls_holds(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    done = drill("--calls", "--sample", str(SAMPLE), "--jobs", "2", "--json", str(path), seconds=280)
    results = [json.loads(line) for line in path.read_text().splitlines()]
    assert [each for each in results if not each["held"]] == [], f"seed {SEED}: {done.stderr}"
    assert len(results) == SAMPLE
    assert sum(each["reached"] for each in results) > SAMPLE / 2
