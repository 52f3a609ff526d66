"""Where an invoice can stand, and which steps lead from there."""

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

# The same arrows as the trigger invoices_guard of the schema; out of held comes held_from besides.
_STEPS = {
    State.DUE: {State.CALCULATED, State.ABORTED, State.HELD},
    State.CALCULATED: {State.SENT, State.INITIATED, State.REGISTERED, State.ABORTED, State.HELD},
    State.SENT: {State.INITIATED, State.REGISTERED, State.ABORTED, State.HELD},
    State.INITIATED: {State.SENT, State.REGISTERED, State.ABORTED, State.HELD},
    State.HELD: {State.INITIATED, State.REGISTERED, State.ABORTED},
    State.REGISTERED: set[State](),
    State.ABORTED: set[State](),
}


def allowed_from(state: State, held_from: State | None = None) -> frozenset[State]:
    """The states that one step can lead to; `held_from` is where a held invoice stood before."""
    back = {held_from} if state is State.HELD and held_from is not None else set()
    return frozenset(_STEPS[state] | back)


def is_allowed(from_state: State, to_state: State, held_from: State | None = None) -> bool:
    """Whether a step may be taken; staying where it stands is no step."""
    return to_state in allowed_from(from_state, held_from)
