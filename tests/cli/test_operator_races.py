"""What an operator orders while others work on the same invoices: one of them wins, and nothing is half done."""

import threading
from decimal import Decimal
from typing import cast
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, text

from altibiz.client import AltibizClient
from altibiz.fake.server import FakeAltibiz
from altibiz.outcomes import Page
from billing.erp_answers import Booking, Outcome, OutcomeKind
from cli.reconcile import compare_bookings
from persistence.connection.database import ConnectionSettings, Database
from persistence.invoices import claims, corrections, held_invoices
from persistence.invoices.corrections import Order, OrderRefused, TakenUp
from persistence.invoices.listing import Filter, list_invoices
from tests.support.billed_months import AUGUST, book, calculate_august, claim_offers, hold, states
from tests.support.calculated_rows import BY

FIRST = AUGUST[0]
ZAGREB = ZoneInfo("Europe/Zagreb")


def take_up(database: Database, order: Order, invoice_id: str = FIRST) -> TakenUp:
    with database.transaction() as connection:
        return corrections.take_up(connection, order, invoice_id, "cli:me", offer_seconds=0, lease_seconds=60)


def carry_out(connection: Connection, order: Order, taken: TakenUp) -> None:
    if order == "waive":
        corrections.waive(connection, taken, "cli:me", "x")
    else:
        corrections.correct(connection, taken, "cli:me", "x", ZAGREB, Decimal(95))


@pytest.mark.parametrize("order", ["correct", "waive"])
def test_a_retry_between_the_question_and_the_order_wins(database: Database, order: Order) -> None:
    calculate_august(database)
    for delivery in claim_offers(database):
        hold(database, delivery)
    taken = take_up(database, order)
    with database.transaction() as connection:
        assert held_invoices.retry_held(connection, "cli:you", FIRST, "mended") is None
    with database.transaction() as again, pytest.raises(OrderRefused, match="changed meanwhile and is sent now"):
        carry_out(again, order, taken)
    assert states(database)[FIRST] == "sent"
    assert len(states(database)) == 3


def test_what_is_in_an_operators_hand_no_daemon_takes(database: Database) -> None:
    calculate_august(database)
    taken = take_up(database, "waive")
    theirs = [each.invoice_id for each in claim_offers(database)]
    assert sorted(theirs) == list(AUGUST[1:])
    with pytest.raises(OrderRefused, match="the daemon works on it until"):
        take_up(database, "waive")
    with database.transaction() as connection:
        corrections.put_down(connection, taken)
    with database.transaction() as connection:
        (back,) = claims.claim_deliveries(connection, BY, claims.Wanted(9, theirs))
    assert back.invoice_id == FIRST


def test_of_two_corrections_at_once_one_is_made(database: Database, database_url: str) -> None:
    calculate_august(database)
    with FakeAltibiz() as erp:
        book(database, erp)
    with database.transaction() as connection:
        connection.execute(text("UPDATE network_user_catalogues SET meter_fee = meter_fee + 1"))
    hands = [take_up(database, "correct") for _ in range(2)]
    outcomes: list[str] = []

    def order(taken: TakenUp) -> None:
        with Database(ConnectionSettings.from_url(database_url)) as own:
            try:
                with own.transaction() as connection:
                    carry_out(connection, "correct", taken)
                outcomes.append("made")
            except OrderRefused as error:
                outcomes.append(str(error))

    threads = [threading.Thread(target=order, args=(taken,)) for taken in hands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["it has a later revision already: user-004.2026-08.2", "made"]
    assert len(states(database)) == 4


class _Erp:
    """An ERP whose page is older than its answer about one invoice."""

    def __init__(self, then: Booking, now: Booking) -> None:
        self._then, self._now = then, now
        self.asked: list[str] = []

    def page(self, after: str | None) -> Page:
        return Page((self._then,), None)

    def ask(self, invoice_id: str, total: Decimal | None) -> Outcome:
        self.asked.append(invoice_id)
        return Outcome(OutcomeKind.BOOKED, "GET", 200, booking=self._now)


@pytest.mark.parametrize(("bill_id", "kinds"), [("ALT-000001", []), ("ALT-7", ["bill_id"])])
def test_what_goes_on_while_the_pages_are_read_is_looked_at_again(
    database: Database, bill_id: str, kinds: list[str]
) -> None:
    calculate_august(database)
    with FakeAltibiz() as erp:
        book(database, erp, but=AUGUST[1:])
    with database.transaction() as connection:
        (ours,) = [each for each in list_invoices(connection, Filter()) if each["id"] == FIRST]
        connection.execute(
            text("UPDATE invoices SET updated_at = now() + interval '1 h' WHERE id = :id"), {"id": FIRST}
        )
    total = ours["total_with_tax_eur"]
    stand_in = _Erp(Booking(FIRST, "initiated", None, None, total), Booking(FIRST, "registered", bill_id, None, total))
    result = compare_bookings(database, cast(AltibizClient, stand_in), None)
    assert stand_in.asked == [FIRST]
    assert [each.kind for each in result.differences] == kinds
    assert result.open == list(AUGUST[1:])
