"""Stores what answers of the ERP make of invoices, as `billing.erp_answers.decide` says."""

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields

from sqlalchemy import Connection

from billing.erp_answers import COUNTED, AnswerPolicy, Counts, Decision, Outcome, OutcomeKind, decide
from billing.states import State
from persistence.invoices.changes import Change, apply_changes
from persistence.invoices.claims import Delivery
from persistence.invoices.exchanges import Exchange
from persistence.invoices.quarantine import answer_witnessed, count_answers

logger = logging.getLogger(__name__)
_DECIDED = [each.name for each in fields(Decision)]


@dataclass(frozen=True, slots=True)
class StoredAnswers:
    """What answers came to: `changes` as decided, `done` the ids that were changed, `held` those held for blame."""

    changes: Sequence[Change] = ()
    done: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()


def store_answers(
    connection: Connection,
    by: str,
    write_id: uuid.UUID,
    answers: Sequence[tuple[Delivery, Outcome]],
    policy: AnswerPolicy,
) -> StoredAnswers:
    """Decides on answers and stores the decisions whose claims still stand. Raises as `apply_changes` does.

    Those that count against an invoice come last: what the others pass is witness.
    """
    changes: list[Change] = []
    done: set[str] = set()
    held: set[str] = set()
    for counter in (None, "refused", "incorrect"):
        decided = [
            (delivery, outcome, _decide(connection, by, delivery, outcome, policy))
            for delivery, outcome in answers
            if COUNTED.get(outcome.kind) == counter
        ]
        counted = [(delivery.invoice_id, delivery.claim) for delivery, _, decision in decided if decision.counted]
        if counter and counted:
            count_answers(connection, by, counter, counted)
        made = [_change(*each) for each in decided]
        now_done = apply_changes(connection, by, write_id, made)
        if counter:
            held |= {each.invoice_id for each in made if each.to_state == State.HELD} & now_done
        changes += made
        done |= now_done
    if answers:
        logger.debug("answers stored: %s", [(each.invoice_id, each.to_state) for each in changes])
    return StoredAnswers(changes, frozenset(done), frozenset(held))


def _decide(connection: Connection, by: str, delivery: Delivery, outcome: Outcome, policy: AnswerPolicy) -> Decision:
    counter = COUNTED.get(outcome.kind)
    witnessed = counter is not None and answer_witnessed(connection, by, delivery.invoice_id, outcome.method, counter)
    counts = Counts(delivery.failures, delivery.polls, delivery.incorrect_count, witnessed)
    return decide(delivery.state, outcome, counts, policy)


def _change(delivery: Delivery, outcome: Outcome, decision: Decision) -> Change:
    exchange = None
    if outcome.kind is not OutcomeKind.NOT_SENT:
        exchange = Exchange(outcome.method, str(outcome.kind), outcome.status, outcome.detail)
    values = {name: getattr(decision, name) for name in _DECIDED}
    return Change(invoice_id=delivery.invoice_id, claim=delivery.claim, exchange=exchange, **values)
