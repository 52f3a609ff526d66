"""docs/spec/failures.md as data: failures and variants out of failures.yaml, their states, and a choice of them."""

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

from drills.environment import Environment, Setting
from drills.faults import clock, database, erp, failover, fault, locks, server
from drills.faults.fault import Fault
from drills.states import STATES
from supervision.clock import Randomness

_MODULES = (fault, clock, database, erp, failover, locks, server)
_NAMES = {name: each for module in _MODULES for name, each in vars(module).items()}
_FOLDER = Path(__file__).parent
FAILURES: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load((_FOLDER / "failures.yaml").read_text("utf-8"))


def _call(text: str) -> Callable[[Environment], object]:
    """What `postgres.stop SIGINT` or `lose_name` does to an environment."""
    name, *words = text.split()
    arguments = [signal.Signals.__members__.get(word, word) for word in words]
    if name in _NAMES:
        return lambda env: _NAMES[name](env, *arguments)
    return lambda env: attrgetter(name)(env)(*arguments)


_READ: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("codes", "further_codes", "begins", "ends"), tuple),
    **dict.fromkeys(("breaks", "mends", "comes_back"), _call),
    "can_meet": _NAMES.__getitem__,
    "how": signal.Signals.__getitem__,
    "setting": lambda fields: Setting(**fields),
    "setup": lambda name: (_FOLDER / "faults" / name).read_text("utf-8"),
}
"""The fields of a fault that YAML has no form for."""


def make(failure: str, variant: str) -> Fault:
    """A fresh fault of this variant."""
    fields = {name: _READ.get(name, lambda value: value)(value) for name, value in FAILURES[failure][variant].items()}
    made: Fault = _NAMES[fields.pop("fault")](**fields)
    return made


@dataclass(frozen=True, order=True)
class Cell:
    """One failure's variant in one state; `timed`: the seconds to the first booking are judged, too."""

    failure: str
    variant: str
    state: str
    timed: bool = field(default=True, compare=False)

    def fault(self) -> Fault:
        return make(self.failure, self.variant)


class UnknownCell(ValueError):  # noqa: N818 - named for what was asked
    """No failure, variant or state of that name."""


def choose(failures: Sequence[str], variants: Sequence[str], states: Sequence[str]) -> list[Cell]:
    """The cells with these names, an empty list meaning all. Raises UnknownCell."""
    variants_there = {variant: None for table in FAILURES.values() for variant in table}
    for what, asked, there in (
        ("failure", failures, FAILURES), ("variant", variants, variants_there), ("state", states, STATES),
    ):  # fmt: skip
        if unknown := [name for name in asked if name not in there]:
            raise UnknownCell(f"no {what} is called {unknown[0]}: there are {', '.join(there)}")
    return [
        Cell(failure, variant, state)
        for failure in FAILURES
        for variant in FAILURES[failure]
        for state in STATES
        if failure in (failures or FAILURES) and variant in (variants or variants_there) and state in (states or STATES)
    ]


def sample(cells: Sequence[Cell], number: int, seed: int) -> list[Cell]:
    """Some cells, in which each failure and each state is met as often as any other; the seed turns them round.

    They are not timed: a sample runs beside other work.
    """
    chance = Randomness(seed)
    rest = list(cells)
    chance.shuffle(rest)
    chosen: list[Cell] = []
    while rest and len(chosen) < number:
        best = min(rest, key=lambda cell: _weight(cell, chosen))
        chosen.append(best)
        rest.remove(best)
    return [replace(each, timed=False) for each in sorted(chosen, key=cells.index)]


def _weight(cell: Cell, chosen: Iterable[Cell]) -> tuple[int, int]:
    same = [(each.failure == cell.failure, each.state == cell.state) for each in chosen]
    return sum(a for a, _ in same) + sum(b for _, b in same), sum(a and b for a, b in same)
