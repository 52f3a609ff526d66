"""Claims for the biller and the gateway: one statement a kind; a row that refuses it is found and left out."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import Connection

from actors.context import ActorContext
from actors.deadline_transactions import DeadlineTransactions
from actors.messages import BILLER, ERP_GATEWAY, ClaimDeliveries, ClaimDue, ClaimedDeliveries, ClaimedDue
from actors.points import point
from actors.refused_rows import RefusedRows
from persistence import claims
from persistence.bisection import Failed, bisect, is_row_fault, isolate
from persistence.claims import Claimed, Claimer, Delivery, Kind, Wanted
from persistence.errors import DatabaseFailed

Claim = ClaimDue | ClaimDeliveries
Search = Callable[..., list[Any]]


class InvoiceClaimer:
    """The last claim of each kind that was asked for, until it is answered.

    `answer` tells who asked; `refuse` takes an invoice whose claim the database refuses, and why.
    """

    def __init__(
        self,
        context: ActorContext,
        transactions: DeadlineTransactions,
        left_out: RefusedRows,
        *,
        answer: Callable[[str, object], None],
        refuse: Callable[[str, Exception], None],
    ) -> None:
        self._context = context
        self._transactions = transactions
        self._left_out = left_out
        self._tell = answer
        self._refuse = refuse
        self._in_hand: Collection[str] = ()
        self._asked: dict[type, Claim] = {}

    def ask(self, claim: Claim) -> None:
        """A later claim takes the place of an earlier one of its kind."""
        self._asked[type(claim)] = claim

    def answer_all(self, in_hand: Collection[str]) -> None:
        """Claims all that was asked for. One kind that fails keeps the other from nothing; it stays asked for.

        What a write still waits for is `in_hand`. Raises the error of the database, unless it is one row's.
        """
        self._in_hand = in_hand
        failed: DatabaseFailed | None = None
        for kind, claim in list(self._asked.items()):
            try:
                self._answer(claim)  # with the database away it stays asked for
            except DatabaseFailed as error:
                failed = error
            else:
                del self._asked[kind]
        if failed is not None:
            raise failed

    def _answer(self, claim: Claim) -> None:
        settings = self._context.settings
        approved_only = settings.billing.approval == "required"
        by = Claimer(self._context.claimer, settings.work.lease_seconds, approved_only)
        if isinstance(claim, ClaimDeliveries):
            point("db_writer.claim_deliveries")
            self._tell(ERP_GATEWAY, self._deliveries(by, claim))
            return
        point("db_writer.claim_due")
        wanted = Wanted(claim.limit, self._in_hand, self._left_out.ids)
        batch: list[Claimed] = self._isolate(claims.claim_due, by, "due", wanted)
        self._tell(BILLER, ClaimedDue(batch, claim.ask))

    def _deliveries(self, by: Claimer, claim: ClaimDeliveries) -> ClaimedDeliveries:
        try:
            found, several = self._transactions.run(lambda connection: self._together(connection, by, claim))
        except Exception as error:  # whatever a row makes the work raise
            if not is_row_fault(error):
                raise
            found, several = self._one_by_one(by, claim), True
        return ClaimedDeliveries(found, claim.asked_at_seconds, several, claim.probe)

    def _together(self, connection: Connection, by: Claimer, claim: ClaimDeliveries) -> tuple[list[Delivery], bool]:
        left_out = self._left_out.ids
        if claim.probe:
            found = claims.claim_probe(connection, by, never=claim.never, left_out=left_out)
        else:
            found = []
            holding = {*claim.holding, *self._in_hand}
            for search, limit in ((claims.claim_deliveries, claim.offers), (claims.claim_questions, claim.questions)):
                if limit:
                    found += search(connection, by, limit=limit, holding=holding, left_out=left_out)
        return found, claims.several_open(connection, approved_only=by.approved_only)

    def _one_by_one(self, by: Claimer, claim: ClaimDeliveries) -> list[Delivery]:
        """Each kind by itself, in parts: some row is refused."""
        left_out = self._left_out.ids
        if claim.probe:
            return self._probe(by, claim, left_out)
        found: list[Delivery] = []
        holding = {*claim.holding, *self._in_hand}
        if claim.offers:
            wanted = Wanted(claim.offers, holding, left_out)
            found += self._isolate(claims.claim_deliveries, by, "offers", wanted)
        if claim.questions:
            wanted = Wanted(claim.questions, holding, self._left_out.ids)
            found += self._isolate(claims.claim_questions, by, "questions", wanted)
        return found

    def _probe(self, by: Claimer, claim: ClaimDeliveries, left_out: Collection[str]) -> list[Delivery]:
        """The first of some that can be claimed."""
        wanted = Wanted(20, (), left_out)
        ids = self._transactions.run(
            lambda connection: claims.probe_candidates(connection, by, wanted, never=claim.never)
        )

        def claim_one(part: Sequence[str]) -> list[Delivery]:
            return self._transactions.run(
                lambda connection: claims.claim_probe(connection, by, never=claim.never, left_out=left_out, only=part)
            )

        for each in ids:
            for _, outcome in bisect([each], claim_one, self._transactions.has_time):
                if isinstance(outcome, Failed):
                    self._refuse(each, outcome.error)
                elif outcome:
                    return outcome
        return []

    def _isolate(self, search: Search, by: Claimer, kind: Kind, wanted: Wanted) -> list[Any]:
        def claim(only: Sequence[str] | None) -> list[Any]:
            values = {"limit": wanted.limit, "holding": wanted.holding, "left_out": wanted.left_out, "only": only}
            return self._transactions.run(lambda connection: search(connection, by, **values))

        found: list[Any] = []
        for part, outcome in isolate(claim, lambda: self._candidates(by, kind, wanted), self._transactions.has_time):
            if isinstance(outcome, Failed):
                self._refuse(part[0], outcome.error)
            else:
                found += outcome
            if len(found) >= wanted.limit:
                break
        return found

    def _candidates(self, by: Claimer, kind: Kind, wanted: Wanted) -> Sequence[str]:
        try:
            return self._transactions.run(lambda connection: claims.candidates(connection, by, kind, wanted))
        except DatabaseFailed as error:
            if not error.concerns_row:
                raise
        # A row can't even be read: the history knows which invoices there are.
        known = self._transactions.run(lambda connection: claims.known_in(connection, kind))
        return [each for each in known if each not in set(wanted.left_out)]
