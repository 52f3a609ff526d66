"""The delivery protocol keeps its promises in every state of its model, and needs each of its rules."""

import os

import pytest

from tests.model.delivery_model import RULES, Bounds, Model, exhaust

ALL = os.environ.get("BILLINGD_FAULTS") == "all"
SMALL = [
    Bounds(daemons=2, invoices=1, crashes=0, failovers=1),
    Bounds(daemons=3, invoices=1, crashes=1, failovers=0),
]
LARGE = [
    Bounds(daemons=3, invoices=1, crashes=1, failovers=1),
    Bounds(daemons=2, invoices=2, crashes=0, failovers=0),
]


@pytest.mark.timeout(7200 if ALL else 120)
@pytest.mark.parametrize("bounds", SMALL + (LARGE if ALL else []), ids=str)
def test_no_state_breaks_a_promise(bounds: Bounds) -> None:
    found = exhaust(Model(bounds))
    print(f"{found.states:,} states")
    assert not found.promise, " -> ".join((*found.trace, found.promise))
    assert found.states > 1000


@pytest.mark.parametrize("rule", RULES)
def test_a_promise_breaks_without(rule: str) -> None:
    found = exhaust(Model(SMALL[0], without=rule))
    print(" -> ".join((*found.trace, found.promise)))
    assert found.promise
