"""SQL conditions on an invoice's row, made from the states of billing.states."""

from billing.states import DELIVERY_STATES, FINAL_STATES, WORKING_STATES, State


def in_state(*states: State, prefix: str = "") -> str:
    """Whether the row stands in one of these; `prefix` is the table's alias with its dot."""
    listed = [f"'{each}'" for each in State if each in states]
    return f"{prefix}state = {listed[0]}" if len(listed) == 1 else f"{prefix}state IN ({', '.join(listed)})"


FINAL = in_state(*FINAL_STATES)
OPEN = in_state(*FINAL_STATES).replace(" IN ", " NOT IN ")  # as the partial indices have it
WORKING = in_state(*WORKING_STATES)
"""It goes on by itself: neither final nor held."""
DELIVERABLE = in_state(*DELIVERY_STATES)
IS_DUE, IS_HELD, IS_REGISTERED, IS_ABORTED = (
    in_state(each) for each in (State.DUE, State.HELD, State.REGISTERED, State.ABORTED)
)

END_CLAIM = "claimed_by = NULL, claimed_for = NULL, claimed_until = NULL"
"""Assignments, not a condition: nobody has it in hand."""
CLAIM_IS_OVER = "(claimed_until IS NULL OR claimed_until <= now())"
INSTANCE = "substring(claimed_by FROM '^(.*)#[^#]*$')"
"""The instance of a row's claimer, as `instance_of`; null of a person's name."""
MAY_LEAVE = "(state <> 'calculated' OR approved_at IS NOT NULL OR NOT CAST(:approved_only AS boolean))"
PAUSED = "EXISTS (SELECT FROM delivery_pauses WHERE resumed_at IS NULL AND until > now())"
READY = f"(next_attempt_at IS NULL OR next_attempt_at <= now()) AND {CLAIM_IS_OVER}"


def instance_of(claimer: str) -> str:
    """The instance of a claimer's name, which may hold '#' itself: the incarnation behind the last one does not."""
    return claimer.rpartition("#")[0]
