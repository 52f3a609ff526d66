"""The delivery protocol keeps its promises in every state of its model, and needs each of its rules."""

import os
from collections.abc import Iterator

import pytest

from drills.delivery_model import RULES, Bounds, Invoice, Model
from tests.model.search import exhaust, pairs

ALL = os.environ.get("BILLINGD_FAULTS") == "all"
WHOLE = Bounds(daemons=3, crashes=1, failovers=1)
SMALL = Bounds(daemons=2, crashes=0, failovers=1)
LARGE = [Bounds(daemons=3, crashes=2, failovers=2), Bounds(daemons=4, crashes=1, failovers=1)]


@pytest.mark.timeout(7200 if ALL else 120)
@pytest.mark.parametrize("bounds", [WHOLE, *(LARGE if ALL else [])], ids=str)
def test_no_state_breaks_a_promise(bounds: Bounds) -> None:
    model = Model(bounds)
    found = exhaust(model)
    print(f"{bounds}: {found.states:,} states of an invoice, {pairs(model):,} of two")
    assert not found.promise, " -> ".join((*found.trace, found.promise))
    assert found.states > 20_000


@pytest.mark.parametrize("rule", RULES)
def test_a_promise_breaks_without(rule: str) -> None:
    found = exhaust(Model(SMALL, without=rule))
    print(" -> ".join((*found.trace, found.promise)))
    assert found.promise


Two = tuple[Invoice, Invoice]


def following(model: Model, both: Two) -> Iterator[Two]:
    """Each next state of two invoices, step by step: what `pairs` counts without visiting it."""
    first, second = both
    yield from ((after, second) for _, after in model.steps(first))
    yield from ((first, after) for _, after in model.steps(second))
    shared = dict(model.shared(second))
    yield from ((after, shared[name]) for name, after in model.shared(first))


@pytest.mark.parametrize("bounds", [Bounds(2, 1, 0), Bounds(1, 0, 1)], ids=str)
def test_two_invoices_have_the_states_that_are_counted(bounds: Bounds) -> None:
    model = Model(bounds)
    seen = {(model.first, model.first)}
    waiting = list(seen)
    while waiting:
        fresh = set(following(model, waiting.pop())) - seen
        seen |= fresh
        waiting += fresh
    print(f"{len(seen):,} states of two")
    assert len(seen) == pairs(model)
