"""Claims for the biller and the gateway: one statement a kind; a row that refuses it is isolated."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from actors.context import ActorContext
from actors.deadline_transactions import DeadlineTransactions
from actors.failpoints import failpoint
from actors.messages import BILLER, ERP_GATEWAY, ClaimDeliveries, ClaimDue, ClaimedDeliveries, ClaimedDue
from actors.refused_rows import RefusedRows
from persistence.connection.bisection import Failed, bisect, is_row_fault
from persistence.connection.errors import DatabaseFailed
from persistence.invoices import claims
from persistence.invoices.claims import Claimer, Kind, Wanted

Request = ClaimDue | ClaimDeliveries
_Search = tuple[Kind, Wanted]
PROBE_CANDIDATES = 20


class InvoiceClaimer:
    """Keeps the last request of each kind until it is answered.

    `reply` tells the actor that has asked. `count` takes an invoice whose claim the database refuses, why, and when.
    """

    def __init__(
        self,
        context: ActorContext,
        transactions: DeadlineTransactions,
        refused_rows: RefusedRows,
        *,
        reply: Callable[[str, object], None],
        count: Callable[[str, Exception, float], None],
    ) -> None:
        self._context = context
        self._transactions = transactions
        self._refused_rows = refused_rows
        self._tell = reply
        self._count = count
        self._requests: dict[type, Request] = {}

    def request(self, request: Request) -> None:
        """A later request takes the place of an earlier one of its kind."""
        self._requests[type(request)] = request

    def answer_all(self, in_hand: Collection[str]) -> None:
        """Claims all that was asked for. One kind that fails keeps the other from nothing; it stays asked for.

        What a write still waits for is `in_hand`. Raises the error of the database, unless it is one row's.
        """
        failed: DatabaseFailed | None = None
        for kind, request in list(self._requests.items()):
            try:
                self._answer(request, in_hand)  # with the database away it stays asked for
            except DatabaseFailed as error:
                failed = error
            else:
                del self._requests[kind]
        if failed is not None:
            raise failed

    def _answer(self, request: Request, in_hand: Collection[str]) -> None:
        by = self._context.as_claimer()
        if isinstance(request, ClaimDue):
            failpoint("db_writer.claim_due")
            batch, _ = self._claim(by, [("calculations", Wanted(request.limit, in_hand))], request)
            self._tell(BILLER, ClaimedDue(batch, request.ask))
            return
        failpoint("db_writer.claim_deliveries")
        holding = {*request.holding, *in_hand}
        searches: list[_Search] = [
            ("offers", Wanted(request.offers, holding)),
            ("questions", Wanted(request.questions, holding)),
        ]
        if request.probe:
            searches = [("probe", Wanted(1, never=request.never))]
        found, several = self._claim(by, [each for each in searches if each[1].limit], request)
        self._tell(ERP_GATEWAY, ClaimedDeliveries(found, request.asked_at_seconds, several, request.probe))

    def _take(self, connection: Connection, by: Claimer, search: _Search, only: Sequence[str] | None) -> list[Any]:
        kind, wanted = search
        wanted = replace(wanted, left_out=self._refused_rows.ids, only=only)
        if kind == "calculations":
            return claims.claim_due(connection, by, wanted)
        return claims.claim_deliveries(connection, by, wanted, kind)

    def _claim(self, by: Claimer, searches: Sequence[_Search], request: Request) -> tuple[list[Any], bool]:
        """What was found, all in one transaction, and whether several are open; apart if a row is refused."""

        def claim_together(connection: Connection) -> tuple[list[Any], bool]:
            found = [each for search in searches for each in self._take(connection, by, search, None)]
            if isinstance(request, ClaimDue):
                return found, True
            self._context.seen_server.note_position(connection)
            return found, claims.several_open(connection, approved_only=by.approved_only)

        try:
            return self._transactions.run(claim_together)
        except Exception as error:  # whatever a row makes the work raise
            if not is_row_fault(error):
                raise
        return [each for search in searches for each in self._isolate(by, search)], True

    def _isolate(self, by: Claimer, search: _Search) -> list[Any]:
        found: list[Any] = []

        def claim(ids: Sequence[str]) -> list[Any]:
            return self._transactions.run(lambda connection: self._take(connection, by, search, ids))

        for part, outcome in bisect(self._candidates(by, search), claim, self._transactions.has_time):
            if isinstance(outcome, Failed):
                self._refuse(by, part[0], outcome.error)
            else:
                found += outcome
            if len(found) >= search[1].limit:
                break
        return found

    def _refuse(self, by: Claimer, invoice_id: str, error: Exception) -> None:
        """The database refuses to have this one claimed: it is claimed as it stands, so that it can be counted."""
        try:
            self._transactions.run(lambda connection: claims.claim_as_it_is(connection, by, invoice_id))
        except Exception as refusal:  # whatever a row makes the work raise
            if not is_row_fault(refusal):
                raise
            self._refused_rows.add(invoice_id, str(refusal))
        else:
            self._count(invoice_id, error, self._context.clock.monotonic())

    def _candidates(self, by: Claimer, search: _Search) -> Sequence[str]:
        kind, wanted = search
        limit = PROBE_CANDIDATES if kind == "probe" else wanted.limit
        wanted = replace(wanted, limit=limit, left_out=self._refused_rows.ids)
        try:
            return self._transactions.run(lambda connection: claims.candidates(connection, by, kind, wanted))
        except DatabaseFailed as error:
            if kind == "probe" or not error.concerns_row:
                raise
        # A row can't even be read: the history knows which invoices there are.
        known = self._transactions.run(lambda connection: claims.known_in(connection, kind))
        refused = set(self._refused_rows.ids)
        return [each for each in known if each not in refused]
