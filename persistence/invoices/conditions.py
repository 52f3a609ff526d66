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
MAY_LEAVE = "(state <> 'calculated' OR approved_at IS NOT NULL OR NOT (remarked OR CAST(:approved_only AS boolean)))"
PAUSED = "EXISTS (SELECT FROM delivery_pauses WHERE resumed_at IS NULL AND until > now())"
READY = f"(next_attempt_at IS NULL OR next_attempt_at <= now()) AND {CLAIM_IS_OVER}"

FIRST_DAY = "CAST(of.period || '-01' AS timestamp)"
ASKED_FOR = f"""EXISTS (SELECT FROM network_users u JOIN meter_assignments a ON a.network_user = u.id
    WHERE u.id = of.network_user_id AND of.period >= u.billed_from
    AND (u.billed_until IS NULL OR of.period <= u.billed_until)
    AND a.starts_at < ({FIRST_DAY} + interval '1 month') AT TIME ZONE CAST(:time_zone AS text)
    AND a.ends_at > {FIRST_DAY} AT TIME ZONE CAST(:time_zone AS text))"""
"""Whether master data asks for the debt `of`, which has network_user_id and period."""
NOT_TAKEN_BACK = "ended_by IS DISTINCT FROM 'master data'"
"""A debt whose invoices were all taken back has none: it comes back if master data asks for it again."""


def instance_of(claimer: str) -> str:
    """The instance of a claimer's name, which may hold '#' itself: the incarnation behind the last one does not."""
    return claimer.rpartition("#")[0]
