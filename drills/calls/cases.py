"""Which calls to the outside a month makes, which faults each of them can have, and which one a run is to have."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from supervision.clock import Randomness

ERROR, TIMEOUT, LOST = "error", "timeout", "done, answer lost"
KILLED_BEFORE, KILLED_AFTER, SLOW = "killed before", "killed after", "slow"
READ_ONLY = "read-only from here on"
"""This session of the database is answered as by a server that has become a standby."""
ALL = (ERROR, TIMEOUT, LOST, KILLED_BEFORE, KILLED_AFTER, SLOW)
_INTERRUPTED = (ERROR, TIMEOUT, KILLED_BEFORE, SLOW)
FAULTS: Mapping[str, tuple[str, ...]] = {
    "sql": (*ALL, READ_ONLY),
    "http": _INTERRUPTED,
    # Only here is there an answer that can be lost; the other boundaries lie before the request is whole, or behind.
    "http before answer": ALL,
    "write": ALL, "fsync": ALL, "replace": ALL, "open": ALL, "unlink": ALL,
    "notify": ALL,
    "thread": (ERROR, KILLED_BEFORE, KILLED_AFTER, SLOW),
}  # fmt: skip
"""By the kind of call, with which a site's name begins."""


@dataclass(frozen=True, order=True)
class Case:
    """One fault at one call: the `number`-th of its site. `after`: the case in which alone this site is met."""

    site: str
    number: int
    fault: str
    after: "Case | None" = None

    @property
    def key(self) -> str:
        own = f"{self.site} #{self.number}: {self.fault}"
        return own if self.after is None else f"{own} after {self.after.key}"


class Plan:
    """Counts the calls of a run as they arrive, and says which of them is to have which fault. For any thread."""

    def __init__(self, case: Case | None = None, tell: Callable[[str], None] = lambda _: None) -> None:
        """`tell` is told of each call's site."""
        self.calls: Counter[str] = Counter()
        self.reached = 0
        """How many of the case's faults were injected."""
        self._open = [] if case is None else [case] if case.after is None else [case.after, case]
        self._lock = threading.Lock()
        self._tell = tell

    def arrive(self, site: str) -> str | None:
        """Counts a call; gives the fault it is to have."""
        with self._lock:
            self.calls[site] += 1
            self._tell(site)
            for case in self._open:
                if case.site == site and self.calls[site] >= case.number:
                    self._open.remove(case)
                    self.reached += 1
                    return case.fault
        return None


def kind_of(site: str) -> str:
    """The kind of call, by which FAULTS are looked up."""
    return site.partition(":")[0]


def cases_of(calls: Mapping[str, int], seed: int) -> Iterator[Case]:
    """Every fault at every call. Each site has one of each before any has another; the seed turns them round."""
    chance = Randomness(seed)
    for number in range(1, max(calls.values(), default=0) + 1):
        cases = [Case(site, number, fault) for site in sorted(calls) for fault in FAULTS[kind_of(site)]]
        chance.shuffle(cases)
        yield from (case for case in cases if number <= calls[case.site])
