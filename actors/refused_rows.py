"""Invoices that can't be changed now: refused altogether by the database, or locked by somebody else."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from actors.condition_reporter import ConditionReporter
from actors.context import ActorContext
from actors.deadline_transactions import DeadlineTransactions
from alarming.catalogue import Code
from persistence import claims, invoices
from persistence.bisection import Failed, bisect
from persistence.locks import lock_invoices, locked_by

logger = logging.getLogger(__name__)

FIRST_WAIT_SECONDS = 2.0
# Of each kind of work the first so many are looked at for locks of others.
LOOKED_AT = 20


@dataclass(frozen=True, slots=True)
class _Wait:
    """How long one is left out, until which monotonic instant, and why."""

    seconds: float
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
        self._waits: dict[str, _Wait] = {}
        self._locked: dict[str, str] = {}

    @property
    def ids(self) -> list[str]:
        """All that are left out."""
        return list(self._waits)

    def add(self, invoice_id: str, reason: str) -> None:
        """It was refused (again)."""
        now, most = self._context.clock.monotonic(), self._context.settings.erp.retry.max_seconds
        last = self._waits.get(invoice_id)
        seconds = max(FIRST_WAIT_SECONDS, min(most, 2 * last.seconds)) if last else FIRST_WAIT_SECONDS
        self._waits[invoice_id] = _Wait(seconds, now + seconds, reason)
        logger.warning("the database takes no change of %s: %s", invoice_id, reason)
        self._tell(invoice_id)

    def _tell(self, invoice_id: str) -> None:
        reason = self._waits[invoice_id].reason
        self._conditions.raise_condition(Code.DATABASE_ERROR, f"{invoice_id} is left out: {reason}", invoice_id)

    def discard(self, invoice_id: str) -> None:
        """The database takes changes of it."""
        self._waits.pop(invoice_id, None)
        self._conditions.clear(Code.DATABASE_ERROR, invoice_id)

    def try_again(self, make_due: Callable[[Sequence[str]], object]) -> list[str]:
        """Tries those whose time has come, each by itself; returns those that can be worked on again.

        `make_due` makes one that there is not yet.
        """
        now = self._context.clock.monotonic()
        works: list[str] = []
        for each, wait in list(self._waits.items()):
            if wait.until_seconds > now:
                self._tell(each)  # another actor's first success has cleared it for everybody
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
            state = invoices.state_of(connection, ids[0])
            if state is None or state in ("registered", "aborted"):
                return state
            if not lock_invoices(connection, ids, wait=False):
                return "locked"
            claims.touch(connection, self._context.claimer, ids[0])
            return state

        state = self._transactions.run(touch)
        if state is None:
            make_due(ids)
        return state != "locked"

    def look_for_locks(self) -> None:
        """What could be claimed, and is locked by the same transaction as at the last look, is told of."""
        approved_only = self._context.settings.billing.approval == "required"
        by = claims.Claimer(self._context.claimer, self._context.settings.work.lease_seconds, approved_only)

        def look(connection: Connection) -> dict[str, str]:
            return locked_by(connection, "invoices", claims.waiting_first(connection, by, LOOKED_AT))

        found = self._transactions.run_unless_refused(look)
        if found is None:
            return
        for each in self._locked.keys() - found.keys():
            self._conditions.clear(Code.DATABASE_ERROR, each)
        self.tell_of_locks(dict(found.items() & self._locked.items()))
        self._locked = found

    def look_who_locks(self, ids: Collection[str]) -> None:
        """Tells who has locked these, which a write waits for."""
        found = self._transactions.run(lambda connection: locked_by(connection, "invoices", ids))
        self.tell_of_locks({each: found.get(each, "another session") for each in ids})

    def tell_of_locks(self, who: dict[str, str]) -> None:
        """Raises the alarm for each of these rows."""
        for each, session in who.items():
            self._conditions.raise_condition(Code.DATABASE_ERROR, f"{each} waits: its row is locked by {session}", each)
