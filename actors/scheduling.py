"""What sets invoices going without a claim: periods that are due, and the end of the waits that the ERP has caused."""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection

from actors.context import ActorContext
from actors.deadline_transactions import DeadlineTransactions
from actors.refused_rows import RefusedRows
from billing.periods import Period, Schedule, due_periods
from persistence import claims, invoices
from persistence.bisection import Failed, isolate


class InvoiceScheduler:
    """Makes invoices due and ends waits, each in one statement; a row that refuses is found and left out."""

    def __init__(self, context: ActorContext, transactions: DeadlineTransactions, left_out: RefusedRows) -> None:
        self._context = context
        self._transactions = transactions
        self._left_out = left_out
        self._waits_refused: set[str] = set()

    def make_due(self) -> bool:
        """Makes the invoices of closed periods due where they are missing; whether there were any."""
        made = 0
        for part, outcome in isolate(self.make_these_due, self._missing, self._transactions.has_time):
            if isinstance(outcome, Failed):
                self._left_out.add(part[0], str(outcome.error))
            else:
                made += outcome
        return made > 0

    def make_these_due(self, only: Sequence[str] | None) -> int:
        """Makes these due, None: all but what is left out. Raises as `Transactions.run` does."""
        left_out = self._left_out.ids if only is None else ()

        def make(connection: Connection) -> int:
            periods = self._due_periods(connection)
            return invoices.make_due(
                connection, self._context.claimer, periods, reason="the period is due", left_out=left_out, only=only
            )

        return self._transactions.run(make)

    def _missing(self) -> list[str]:
        left_out = self._left_out.ids
        return self._transactions.run(
            lambda connection: invoices.missing(connection, self._due_periods(connection), left_out=left_out)
        )

    def _due_periods(self, connection: Connection) -> list[str]:
        first = invoices.first_billed_period(connection)
        if first is None:
            return []
        schedule, zone = Schedule(self._context.settings.billing.schedule), self._context.settings.zone
        return [str(period) for period in due_periods(Period.parse(first), self._context.now(), schedule, zone)]

    def forget_waits(self) -> list[str]:
        """Ends the waits; returns which still wait, since somebody else has locked them."""
        left_out = self._left_out.ids

        def forget(only: Sequence[str] | None) -> int:
            return self._transactions.run(
                lambda connection: claims.forget_waits_for_the_erp(connection, left_out, only)
            )

        def waiting() -> list[str]:
            return self._transactions.run(lambda connection: claims.waiting_for_the_erp(connection, self._left_out.ids))

        for part, outcome in isolate(forget, waiting, self._transactions.has_time):
            if isinstance(outcome, Failed):
                self.refuse_wait(part[0], outcome.error)
        return waiting()

    def refuse_wait(self, invoice_id: str, error: Exception) -> None:
        """The database refuses to have this one's wait ended: it is ended when it takes a change again."""
        self._left_out.add(invoice_id, str(error))
        self._waits_refused.add(invoice_id)

    def take_waits_refused(self, invoice_ids: Collection[str]) -> set[str]:
        """Those among these whose wait is still to be ended; once."""
        taken = self._waits_refused.intersection(invoice_ids)
        self._waits_refused -= taken
        return taken
