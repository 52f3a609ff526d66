"""docs/spec/failures.md as data: failures, their variants, the states they happen in, and a choice of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from drills.faults.database import D1, D2, D3
from drills.faults.erp import E1, E2, E3
from drills.faults.failover import D4
from drills.faults.fault import Fault
from drills.faults.server import S1, S2
from drills.states import STATES
from supervision.clock import Randomness

FAILURES: dict[str, dict[str, Callable[[], Fault]]] = {
    "D1": D1, "D2": D2, "D3": D3, "D4": D4, "S1": S1, "S2": S2, "E1": E1, "E2": E2, "E3": E3,
}  # fmt: skip


@dataclass(frozen=True, order=True)
class Cell:
    """One failure's variant in one state; `timed`: the seconds to the first booking are judged, too."""

    failure: str
    variant: str
    state: str
    timed: bool = field(default=True, compare=False)

    def fault(self) -> Fault:
        return FAILURES[self.failure][self.variant]()


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
