"""Sets invoices going without a claim: makes them due, and ends the waits that the ERP has caused."""

import logging
from collections.abc import Sequence

from sqlalchemy import Connection

from actors.context import ActorContext
from actors.deadline_transactions import DeadlineTransactions
from actors.refused_rows import RefusedRows
from persistence.clock_step import clocks_agree
from persistence.connection.bisection import Failed, isolate
from persistence.invoices import claims, due_invoices

logger = logging.getLogger(__name__)


class InvoiceScheduler:
    """Works in few statements for all invoices; a row that refuses one is isolated and left out."""

    def __init__(self, context: ActorContext, transactions: DeadlineTransactions, refused_rows: RefusedRows) -> None:
        self._context = context
        self._transactions = transactions
        self._refused_rows = refused_rows
        self.unfinished = False
        """Whether the time ended before all that is missing was made due."""

    def make_due(self) -> bool:
        """Makes the invoices of closed periods due where they are missing; whether there were any."""
        made, found = 0, 1
        while found and self._transactions.has_time():
            found = 0
            for part, outcome in isolate(self.make_these_due, self._missing, self._transactions.has_time):
                if isinstance(outcome, Failed):
                    self._refused_rows.add(part[0], str(outcome.error))
                    found += 1
                else:
                    made += outcome
                    found += outcome
        self.unfinished = found > 0 or not self._transactions.has_time()
        if made:
            logger.debug("made %s invoices due", made)
        return made > 0

    def make_these_due(self, only: Sequence[str] | None) -> int:
        """Makes some of these due, None: of all but what is refused. Raises as `DeadlineTransactions.run` does."""
        refused = self._refused_rows.ids if only is None else ()

        def make(connection: Connection) -> int:
            periods, time_zone = self._due_periods(connection), self._context.settings.billing.time_zone
            by = self._context.claimer
            return due_invoices.make_due(
                connection, by, periods, reason="the period is due", left_out=refused, only=only, time_zone=time_zone
            )

        return self._transactions.run(make)

    def _missing(self) -> list[str]:
        refused = self._refused_rows.ids
        return self._transactions.run(
            lambda connection: due_invoices.missing(
                connection,
                self._due_periods(connection),
                left_out=refused,
                time_zone=self._context.settings.billing.time_zone,
                at_most=due_invoices.MADE_AT_ONCE,
            )
        )

    def _due_periods(self, connection: Connection) -> list[str]:
        first = due_invoices.first_billed_period(connection)
        if first is None or not clocks_agree(connection, self._context.clock.wall()):
            return []
        return self._context.due_periods(first)

    def reset_backoffs(self) -> list[str]:
        """Ends the waits; returns which still wait, since somebody else has locked them."""
        refused = self._refused_rows.ids

        def reset(only: Sequence[str] | None) -> int:
            return self._transactions.run(lambda connection: claims.forget_waits_for_the_erp(connection, refused, only))

        def waiting() -> list[str]:
            return self._transactions.run(
                lambda connection: claims.waiting_for_the_erp(connection, self._refused_rows.ids)
            )

        for part, outcome in isolate(reset, waiting, self._transactions.has_time):
            if isinstance(outcome, Failed):
                self._refused_rows.add(part[0], str(outcome.error))
        return waiting()
