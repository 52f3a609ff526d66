"""`python -m tests.mutation [PART ...]`: judges the mutants of each part's modules by the part's own, quick tests.

Results are added to a file of JSON lines. One that stands there is not judged again while module and killing test, or
for a survivor all of the part's tests, are the same.
"""

import argparse
import functools
import hashlib
import json
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import yaml

from tests.mutation.mutator import Mutant, mutants
from tests.mutation.warm import Judge

LEAST_SCORE = 0.95
KNOWN = Path(__file__).with_name("survivors.yaml")
_BILLING = "tests/billing/test_billing_"
PARTS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "erp_answers": (("billing/erp_answers.py", "billing/quarantine.py"), (f"{_BILLING}erp_answers.py",)),
    "states": (("billing/states.py",), ("tests/billing/test_billing_states.py",)),
    "periods": (("billing/periods.py",), ("tests/billing/test_billing_periods.py",)),
    "reconciliation": (("billing/reconciliation.py",), ("tests/billing/test_billing_reconciliation.py",)),
    "remarks": (("billing/remarks.py",), ("tests/billing/test_remarks.py",)),
    "identity": (("billing/identity.py",), ("tests/billing/test_billing_identity.py",)),
    "money": (
        ("billing/calculation.py", "billing/catalogues.py", "billing/corrections.py", "billing/foreign_text.py",
         "billing/instants.py", "billing/invoice.py", "billing/recomputation.py", "billing/rounding.py",
         "billing/segments.py"),
        (f"{_BILLING}calculation.py", f"{_BILLING}corrections.py", f"{_BILLING}invoice.py",
         "tests/billing/test_segments.py"),
    ),
    "circuit_breaker": (("actors/circuit_breaker.py",), ("tests/actors/test_circuit_breaker.py",)),
    "alarm_register": (("alarming/register.py",), ("tests/alarming/test_alarming_register.py",)),
    "transitions": (("persistence/invoices/transitions.py",), ("tests/persistence/test_claims.py",)),
    "claims": (("persistence/invoices/claims.py",), ("tests/persistence/test_claims.py",)),
    "supervisor": (
        ("supervision/supervisor.py",),
        [f"tests/supervision/test_supervision_cases_{cases}.py" for cases in ("01_16", "17_28", "29_40")],
    ),
}  # fmt: skip
SAMPLED = ("circuit_breaker", "reconciliation", "remarks", "identity")
"""Those that `make test` takes its sample from: no server, and their tests take a second."""


@dataclass(frozen=True)
class Result:
    """`killed_by` None: it survived so many tests; `digest` is `_digest` of it."""

    path: str
    name: str
    digest: str
    killed_by: str | None
    tests: int
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 if a mutant survived that `survivors.yaml` doesn't name, or the file names one that doesn't survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", type=Path, default=Path("var/mutants.jsonl"))
    parser.add_argument(
        "--sample", type=float, metavar="SECONDS", help="begins no mutant after these, in an order by chance"
    )
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    chosen.json.parent.mkdir(exist_ok=True)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    until = time.monotonic() + (chosen.sample or float("inf"))
    parts, whole = chosen.parts or list(PARTS), chosen.sample is None
    for part in parts:
        _judge_part(part, chosen.json, until, random.Random(chosen.seed) if not whole else None, out)
    return _report([path for part in parts for path in PARTS[part][0]], _stored(chosen.json), whole=whole, out=out)


def _judge_part(part: str, file: Path, until: float, chance: random.Random | None, out: TextIO) -> None:
    paths, tests = PARTS[part]
    stored = _stored(file)
    left = [each for path in paths for each in mutants(path) if (path, each.name) not in stored]
    if chance is not None:
        chance.shuffle(left)
    if not left:
        return

    def work(judge: Judge) -> None:
        with file.open("a", buffering=1) as lines:
            for number, mutant in enumerate(left, 1):
                if time.monotonic() > until:
                    return
                end = judge.judge(mutant)
                result = Result(mutant.path, mutant.name, _digest(mutant.path, end.killed_by), **asdict(end))
                lines.write(json.dumps(asdict(result)) + "\n")
                what = f"killed by {end.killed_by}" if end.killed_by else f"SURVIVED {end.tests} tests"
                print(f"{part} {number}/{len(left)} {mutant.path}:{mutant.line} {mutant.name}: {what}", file=out)

    Judge(paths, work).run(tests)


@functools.cache
def _digest(path: str, killed_by: str | None) -> str:
    """Of a module and of the test that kills its mutant; None: of all its tests, which let it live."""
    found = hashlib.sha256(Path(path).read_bytes())
    if killed_by is None:
        for tests in next(tests for paths, tests in PARTS.values() if path in paths):
            found.update(Path(tests).read_bytes())
    elif "::" in killed_by:
        file, _, name = killed_by.partition("::")
        source = Path(file).read_text() if Path(file).exists() else ""
        function = re.search(rf"^def {name.split('[')[0]}\(.*?(?=^\S|\Z)", source, re.MULTILINE | re.DOTALL)
        found.update(function[0].strip().encode() if function else b"gone")
    return found.hexdigest()[:16]


def _stored(file: Path) -> dict[tuple[str, str], Result]:
    lines = file.read_text().splitlines() if file.exists() else []
    results = [Result(**json.loads(line)) for line in lines]
    return {(each.path, each.name): each for each in results if each.digest == _digest(each.path, each.killed_by)}


def _report(paths: Iterable[str], stored: dict[tuple[str, str], Result], *, whole: bool, out: TextIO) -> int:
    known: dict[str, dict[str, dict[str, list[str]]]] = yaml.safe_load(KNOWN.read_text())
    problems: list[str] = []
    total: Counter[str] = Counter()
    print(f"{'module':40} mutants killed equivalent surviving  score", file=out)
    for path in paths:
        everyone = mutants(path)
        counts, found = judged(path, everyone, stored, known, whole=whole)
        problems += found
        if whole:
            problems += [f"{path}: not judged: {each.name}" for each in everyone if (path, each.name) not in stored]
        total += counts
        print(line(path, counts), file=out)
        if whole and score(counts) < LEAST_SCORE:
            problems.append(f"{path}: fewer than {LEAST_SCORE:.0%} are killed")
    print(line("all", total), file=out)
    for problem in problems:
        print(problem, file=out)
    return 1 if problems else 0


def judged(
    path: str, everyone: Sequence[Mutant], stored: dict[tuple[str, str], Result],
    known: dict[str, dict[str, dict[str, list[str]]]], *, whole: bool = True,
) -> tuple[Counter[str], list[str]]:  # fmt: skip
    """How many of each kind, and where `survivors.yaml` is wrong; `known`: kind to path to reason to names.

    Only the whole run finds a listed one killed to be wrong: a busy machine can fail a test, too.
    """
    listed = {name: kind for kind in known for names in (known[kind].get(path) or {}).values() for name in names}
    names = {each.name for each in everyone}
    problems = [f"{path}: {KNOWN.name} names what is no mutant: {name}" for name in listed if name not in names]
    counts: Counter[str] = Counter()
    for name in names:
        result = stored.get((path, name))
        if result is None:
            continue
        counts["mutants"] += 1
        if result.killed_by is not None:
            counts["killed"] += 1
            problems += [f"{path}: is killed, so no survivor: {name}"] * (whole and name in listed)
        elif name in listed:
            counts[listed[name]] += 1
        else:
            counts["surviving"] += 1
            problems.append(f"{path}: survived: {name}")
    return counts, problems


def score(counts: Counter[str]) -> float:
    """The part killed of those that are not equivalent."""
    return counts["killed"] / max(1, counts["mutants"] - counts["equivalent"])


def line(name: str, counts: Counter[str]) -> str:
    """A row of the table."""
    numbers = f"{counts['mutants']:7} {counts['killed']:6} {counts['equivalent']:10} {counts['surviving']:9}"
    return f"{name:40} {numbers} {score(counts):6.1%}"


if __name__ == "__main__":
    sys.exit(main())
