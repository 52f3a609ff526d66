"""The steps between the states of an invoice: the arrows that exist, and that the schema draws the same."""

import re
from itertools import product
from pathlib import Path

import pytest

from billing.states import FINAL_STATES, OPEN_STATES, State, allowed_from, is_allowed

SCHEMA = Path(__file__).resolve().parents[2] / "persistence/schema/sql/0001_guards.sql"


def test_final_states_lead_nowhere() -> None:
    assert {State.REGISTERED, State.ABORTED} == FINAL_STATES
    assert not any(allowed_from(state) for state in FINAL_STATES)
    assert set(State) == OPEN_STATES | FINAL_STATES


@pytest.mark.parametrize("state", sorted(OPEN_STATES))
def test_every_open_state_can_be_ended(state: State) -> None:
    assert is_allowed(state, State.ABORTED)


def test_the_only_steps_back_are_out_of_held_and_from_initiated_to_sent() -> None:
    way = [State.DUE, State.CALCULATED, State.SENT, State.INITIATED, State.REGISTERED]
    back = {(a, b) for a, b in product(way, way) if way.index(b) < way.index(a) and is_allowed(a, b)}
    assert back == {(State.INITIATED, State.SENT)}
    assert is_allowed(State.HELD, State.CALCULATED, held_from=State.CALCULATED)
    assert not is_allowed(State.HELD, State.CALCULATED, held_from=State.SENT)
    assert not is_allowed(State.HELD, State.DUE)


def test_the_trigger_of_the_schema_has_the_same_arrows() -> None:
    arrows = re.findall(r"OLD\.state = '(\w+)' +AND NEW\.state IN \(([^)]*)\)", SCHEMA.read_text("utf-8"))
    drawn = {State(old): set(re.findall(r"'(\w+)'", new)) for old, new in arrows}
    assert drawn == {state: set(allowed_from(state)) for state in OPEN_STATES}
