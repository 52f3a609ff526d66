"""The search through the delivery's model: every state of one invoice, and how many states two have together."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import chain, product
from typing import NamedTuple

from drills.delivery_model import REGISTERED, Invoice, Model, broken_promise


class Exhausted(NamedTuple):
    """What the search has seen; `trace` leads to the state that breaks `promise`, both empty if none does."""

    states: int
    promise: str = ""
    trace: tuple[str, ...] = ()


def exhaust(model: Model) -> Exhausted:
    """Visits every state, the nearest first, until one breaks a promise."""
    came_from: dict[Invoice, tuple[Invoice, str] | None] = {model.first: None}
    came_by_itself: dict[Invoice, list[Invoice]] = {}
    waiting = deque([model.first])
    while waiting:
        invoice = waiting.popleft()
        if promise := broken_promise(invoice):
            return Exhausted(len(came_from), promise, _trace(invoice, came_from))
        steps = tuple(model.steps(invoice))
        for name, after in chain(steps, model.shared(invoice)):
            if after not in came_from:
                came_from[after] = invoice, name
                waiting.append(after)
        for _, after in steps:
            came_by_itself.setdefault(after, []).append(invoice)
    registered = (each for each in came_from if each.row.state == REGISTERED)
    finishing = _reached(registered, lambda invoice: came_by_itself.get(invoice, ()))
    lost = next((each for each in came_from if each not in finishing), None)
    return Exhausted(len(came_from), "lost" if lost else "", _trace(lost, came_from) if lost else ())


def pairs(model: Model) -> int:
    """The number of states that two invoices have together: the pairs to which the same shared events lead.

    Whatever the shared events were, each invoice has by then reached one set of states, by its own steps between them.
    """

    @cache
    def following(invoice: Invoice) -> tuple[Invoice, ...]:
        return tuple(after for _, after in model.steps(invoice))

    together, waiting = dict[frozenset[Invoice], int](), [_reached([model.first], following)]
    while waiting:
        if (states := waiting.pop()) not in together:
            together[states] = 1 << len(together)
            after = dict[str, set[Invoice]]()
            for name, invoice in chain.from_iterable(map(model.shared, states)):
                after.setdefault(name, set()).add(invoice)
            waiting += (_reached(each, following) for each in after.values())
    events = Counter[Invoice]()
    for states, bit in together.items():
        for invoice in states:
            events[invoice] |= bit
    number = Counter(events.values())
    return sum(number[one] * number[other] for one, other in product(number, repeat=2) if one & other)


def _reached(starts: Iterable[Invoice], following: Callable[[Invoice], Iterable[Invoice]]) -> frozenset[Invoice]:
    reached = set(starts)
    waiting = list(reached)
    while waiting:
        fresh = set(following(waiting.pop())) - reached
        waiting += fresh
        reached |= fresh
    return frozenset(reached)


def _trace(invoice: Invoice, came_from: Mapping[Invoice, tuple[Invoice, str] | None]) -> tuple[str, ...]:
    steps: list[str] = []
    while (before := came_from[invoice]) is not None:
        invoice, name = before
        steps.append(name)
    return tuple(reversed(steps))
