"""The state machine of an invoice: its states, and the arrows between them."""

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """What is true of an invoice, and stored (docs/spec/billing.md, "Where an invoice can stand")."""

    DUE = "due"
    CALCULATED = "calculated"
    SENT = "sent"
    INITIATED = "initiated"
    REGISTERED = "registered"
    ABORTED = "aborted"
    HELD = "held"


FINAL_STATES = frozenset({State.REGISTERED, State.ABORTED})
OPEN_STATES = frozenset(State) - FINAL_STATES
WORKING_STATES = OPEN_STATES - {State.HELD}
"""They go on by themselves."""
DELIVERY_STATES = WORKING_STATES - {State.DUE}
"""Delivery has work with them: an offer, or a question to the ERP."""

# Out of held comes held_from besides. The trigger invoices_guard of the schema draws the same arrows, and so do the
# drills' judge and the README: tests compare them.
ARROWS: Mapping[State, frozenset[State]] = {
    State.DUE: frozenset({State.CALCULATED, State.ABORTED, State.HELD}),
    State.CALCULATED: frozenset({State.SENT, State.INITIATED, State.REGISTERED, State.ABORTED, State.HELD}),
    State.SENT: frozenset({State.INITIATED, State.REGISTERED, State.ABORTED, State.HELD}),
    State.INITIATED: frozenset({State.SENT, State.REGISTERED, State.ABORTED, State.HELD}),
    State.HELD: frozenset({State.INITIATED, State.REGISTERED, State.ABORTED}),
    State.REGISTERED: frozenset(),
    State.ABORTED: frozenset(),
}


def allowed_from(state: State, held_from: State | None = None) -> frozenset[State]:
    """The states that one step can lead to; `held_from` is where a held invoice stood before."""
    back = {held_from} if state is State.HELD and held_from is not None else set()
    return ARROWS[state] | back


def is_allowed(from_state: State, to_state: State, held_from: State | None = None) -> bool:
    """Whether a step may be taken; staying where it stands is no step."""
    return to_state in allowed_from(from_state, held_from)
