"""Invoices that can't be changed now: refused altogether by the database, or locked by somebody else."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from actors.condition_reporter import ConditionReporter
from actors.context import ActorContext
from actors.deadline_transactions import DeadlineTransactions
from alarming.catalogue import Code
from billing.quarantine import backoff_seconds
from billing.states import FINAL_STATES
from persistence.connection.bisection import Failed, bisect
from persistence.invoices import claims, queries
from persistence.locks import lock_invoices, locked_by

logger = logging.getLogger(__name__)

FIRST_WAIT_SECONDS = 2.0
# Of each kind of work the first so many are looked at for locks of others.
LOOKED_AT = 20


@dataclass(frozen=True, slots=True)
class _Refusal:
    """How often in a row, until which monotonic instant the row is left alone, and why."""

    times: int
    until_seconds: float
    reason: str


class RefusedRows:
    """Leaves out what the database takes no change of, not even a count; tries it again ever more seldom.

    It is kept in memory only: after a restart such a row is found again. While it is left out, or locked by somebody
    else, `database_error` stands for it.
    """

    def __init__(
        self, context: ActorContext, transactions: DeadlineTransactions, conditions: ConditionReporter
    ) -> None:
        self._context = context
        self._transactions = transactions
        self._conditions = conditions
        self._refusals: dict[str, _Refusal] = {}
        self._locked: dict[str, str] = {}

    @property
    def ids(self) -> list[str]:
        return list(self._refusals)

    def add(self, invoice_id: str, reason: str) -> None:
        times = self._refusals[invoice_id].times + 1 if invoice_id in self._refusals else 0
        longest = max(FIRST_WAIT_SECONDS, self._context.settings.erp.retry.max_seconds)
        until = self._context.clock.monotonic() + backoff_seconds(times, FIRST_WAIT_SECONDS, longest)
        self._refusals[invoice_id] = _Refusal(times, until, reason)
        logger.warning("the database takes no change of %s: %s", invoice_id, reason)
        self._report(invoice_id)

    def discard(self, invoice_id: str) -> None:
        """The database takes changes of it."""
        self._refusals.pop(invoice_id, None)
        self._conditions.clear(Code.DATABASE_ERROR, invoice_id)

    def try_again(self, make_due: Callable[[Sequence[str]], object]) -> list[str]:
        """Tries those whose time has come, each by itself; returns those that can be worked on again.

        `make_due` makes one that there is not yet.
        """
        now = self._context.clock.monotonic()
        works: list[str] = []
        for each, refusal in list(self._refusals.items()):
            if refusal.until_seconds > now:
                self._report(each)  # another actor's first success has cleared it for everybody
                continue
            for ids, outcome in bisect([each], lambda ids: self._try(ids, make_due), self._transactions.has_time):
                if isinstance(outcome, Failed):
                    self.add(ids[0], str(outcome.error))
                elif outcome:
                    self.discard(ids[0])
                    works += ids
        return works

    def _try(self, ids: Sequence[str], make_due: Callable[[Sequence[str]], object]) -> bool:
        def touch(connection: Connection) -> str | None:
            state = queries.state_of(connection, ids[0])
            if state is None or state in FINAL_STATES:
                return state
            if not lock_invoices(connection, ids, wait=False):
                return "locked"
            claims.touch(connection, self._context.claimer, ids[0])
            return state

        state = self._transactions.run(touch)
        if state is None:
            make_due(ids)
        return state != "locked"

    def find_locked(self) -> None:
        """What could be claimed, and is locked by the same transaction as at the last look, is told of."""
        by = self._context.as_claimer()
        found = self._transactions.run_unless_refused(
            lambda connection: locked_by(connection, "invoices", claims.waiting_first(connection, by, LOOKED_AT))
        )
        if found is None:
            return
        for each in self._locked.keys() - found.keys():
            self._conditions.clear(Code.DATABASE_ERROR, each)
        self._report_locks(dict(found.items() & self._locked.items()))
        self._locked = found

    def report_lockers(self, ids: Collection[str]) -> None:
        """Tells which session has locked each of these, which a write waits for."""
        found = self._transactions.run(lambda connection: locked_by(connection, "invoices", ids))
        self._report_locks({each: found.get(each, "another session") for each in ids})

    def _report(self, invoice_id: str) -> None:
        reason = self._refusals[invoice_id].reason
        self._conditions.raise_condition(Code.DATABASE_ERROR, f"{invoice_id} is left out: {reason}", invoice_id)

    def _report_locks(self, session_of: dict[str, str]) -> None:
        for each, session in session_of.items():
            self._conditions.raise_condition(Code.DATABASE_ERROR, f"{each} waits: its row is locked by {session}", each)
