"""`python -m tests.mutation [MUTANT ...]`: runs mutmut, and compares what survived with `survivors.yaml`."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.file_mutation import filter_mutants_with_type_checker
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files

LEAST_SCORE = 0.95
SURVIVORS = Path(__file__).with_name("survivors.yaml")
KINDS = {
    "killed": "killed", "timeout": "killed", "segfault": "killed", "survived": "surviving", "no tests": "surviving",
}  # fmt: skip
"""By mutmut's status. What survives is `refused` if mypy finds it, `equivalent` if it is listed."""
OWN_FORM = ("no-redef", "unused-ignore", "no-any-return", "has-type")
"""The errors of mypy that a module with mutants has of itself: an attribute is declared in each mutant of __init__."""


@dataclass(frozen=True)
class Mutant:
    """A changed function, and what became of it: a kind, or mutmut's status if it was not judged."""

    path: str
    name: str
    kind: str

    @property
    def change(self) -> str:
        """As `survivors.yaml` names it: the function, the lines before and after."""
        lines = get_diff_for_mutant(self.name, path=self.path).splitlines()[2:]
        before, after = (" ".join(each[1:].strip() for each in lines if each[:1] == sign) for sign in "-+")
        function = self.name.rpartition(".")[2].partition("__mutmut_")[0].removeprefix("x").replace("ǁ", ".")
        return f"{function.removeprefix('_').removeprefix('.')}: {before} => {after}"

    def is_listed(self, listed: "Listed") -> bool:
        return any(self.change in changes for changes in listed.get(self.path, {}).values())


Listed = Mapping[str, Mapping[str, Sequence[str]]]
"""Path to reason to changes."""


def main(names: Sequence[str]) -> int:
    """Returns 1 if `compared` finds anything wrong. What survives unlisted is tried again: its tests may be new."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["BILLINGD_TEST_CLUSTER"] = str(Path("mutants/cluster").absolute())
    run_mutmut(*names)
    listed, refused = yaml.safe_load(SURVIVORS.read_text()), refused_by_mypy()
    if again := [each.name for each in judged(refused) if each.kind == "surviving" and not each.is_listed(listed)]:
        run_mutmut(*again)
    counts, wrong = compared(list(judged(refused)), listed)
    print(f"{'module':38} mutants killed refused equivalent surviving  score")
    for path, count in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(f"{path:38} {count.total():7} {count['killed']:6} {count['refused']:7} {count['equivalent']:10}"
              f" {count['surviving']:9} {score(count):6.1%}")  # fmt: skip
    print(*wrong, sep="\n")
    return 1 if wrong else 0


def run_mutmut(*names: str) -> None:
    """Has mutmut judge what it has not yet, or these in any case. Raises CalledProcessError if it could not."""
    subprocess.run(["mutmut", "run", "--max-children", "2", *names], check=True)


def refused_by_mypy() -> Collection[str]:
    off = [option for code in OWN_FORM for option in ("--disable-error-code", code)]
    config().type_check_command = ["mypy", "--output", "json", *off, *map(str, walk_mutatable_files())]
    refused: Collection[str] = filter_mutants_with_type_checker()
    return refused


def judged(refused: Collection[str]) -> Iterator[Mutant]:
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            status = status_by_exit_code[code]
            kind = KINDS.get(status, status)
            yield Mutant(str(path), name, "refused" if kind == "surviving" and name in refused else kind)


def compared(mutants: Sequence[Mutant], listed: Listed) -> tuple[dict[str, Counter[str]], list[str]]:
    """How many of each kind a module has, and what is wrong: survivors unlisted, listed ones that are none, scores."""
    counts: dict[str, Counter[str]] = {each.path: Counter() for each in mutants}
    wrong, found = [], set()
    for mutant in mutants:
        kind = mutant.kind
        if kind == "surviving":
            found.add((mutant.path, mutant.change))
            if mutant.is_listed(listed):
                kind = "equivalent"
            else:
                wrong.append(f"{mutant.path}: survived: {mutant.change} ({mutant.name})")
        elif kind not in ("refused", *KINDS.values()):
            wrong.append(f"{mutant.path}: {kind}: {mutant.name}")
        counts[mutant.path][kind] += 1
    wrong += [
        f"{path}: {SURVIVORS.name} names what does not survive: {change}"
        for path in counts
        for changes in listed.get(path, {}).values()
        for change in changes
        if (path, change) not in found
    ]
    wrong += [f"{path}: fewer than {LEAST_SCORE:.0%}" for path, count in counts.items() if score(count) < LEAST_SCORE]
    return counts, wrong


def score(count: Counter[str]) -> float:
    """The part that tests kill of those that are neither refused nor equivalent."""
    return count["killed"] / max(1, count.total() - count["refused"] - count["equivalent"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
