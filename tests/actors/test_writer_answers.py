"""What the db_writer stores of answers, with which others, and before what."""

import threading
from collections.abc import Callable
from decimal import Decimal

import pytest

from actors import writer as writer_module
from actors.messages import (
    BILLER,
    ERP_GATEWAY,
    ClaimedDeliveries,
    ClaimedDue,
    MakeDue,
    Poll,
    WriteCalculations,
    WriteOutcome,
)
from billing.erp_answers import Booking, Outcome, OutcomeKind
from persistence.connection.database import Database
from persistence.connection.statements import fetch_column
from persistence.invoices.claims import Delivery
from supervision.clock import SystemClock
from tests.support.actor_context import make_context
from tests.support.writer_alone import LIMITS, WriterAlone, calculated, context_on, import_three_users, rows


def registered(delivery: Delivery, bill_id: str) -> WriteOutcome:
    booking = Booking(delivery.invoice_id, "registered", bill_id, None, Decimal(1))
    return WriteOutcome(delivery, Outcome(OutcomeKind.BOOKED, "PUT", 201, "registered", booking=booking))


def test_a_bill_id_that_another_invoice_has_counts_as_an_incorrect_answer(
    database: Database, database_url: str
) -> None:
    import_three_users(database)
    writer = WriterAlone(context_on(database_url))
    try:
        writer.tell(MakeDue(), writer.claim_due())
        writer.tell(WriteCalculations(calculated(database, rows(database, "claim"))))
        writer.tell(writer.claim_deliveries())
        (claimed,) = [each for each in writer.told(ERP_GATEWAY) if isinstance(each, ClaimedDeliveries)]
        one, other, _ = claimed.deliveries
        writer.queue(registered(other, "B-1"))
        writer.tell(registered(one, "B-1"))
        writer.until(lambda: rows(database, "incorrect_count")[other.invoice_id] == 1)
        told = {other.invoice_id: "its bill_id B-1 is another invoice's"}
        assert writer.troubled("erp_incorrect_data") == told
        states = rows(database, "state")
        assert (states[one.invoice_id], states[other.invoice_id]) == ("registered", "sent")
        assert rows(database, "last_outcome")[other.invoice_id] == "incorrect"
        assert rows(database, "crash_count")[other.invoice_id] == 0
        writer.forget_claimed()
        claimed_again = writer.until(
            lambda: [
                delivery
                for each in writer.told(ERP_GATEWAY)
                if isinstance(each, ClaimedDeliveries)
                for delivery in each.deliveries
                if delivery.invoice_id == other.invoice_id
            ],
            writer.claim_deliveries,
        )
        assert writer.troubled("erp_incorrect_data") == told, "an answer is awaited"
        writer.tell(registered(claimed_again[0], "B-2"))
        assert writer.troubled("erp_incorrect_data") == {}
    finally:
        writer.close()


def test_a_late_booking_of_what_is_registered_changes_nothing_and_is_an_alarm(
    database: Database, database_url: str
) -> None:
    import_three_users(database)
    writer = WriterAlone(context_on(database_url))
    try:
        writer.tell(MakeDue(), writer.claim_due())
        writer.tell(WriteCalculations(calculated(database, rows(database, "claim"))))
        writer.tell(writer.claim_deliveries())
        (claimed,) = [each for each in writer.told(ERP_GATEWAY) if isinstance(each, ClaimedDeliveries)]
        one, *_ = claimed.deliveries
        writer.tell(registered(one, "B-1"), registered(one, "B-2"))
        assert rows(database, "bill_id")[one.invoice_id] == "B-1"
        assert "B-2, here it is B-1" in writer.troubled("erp_incorrect_data")[one.invoice_id]
    finally:
        writer.close()


def test_what_the_erp_does_not_have_is_offered_after_an_older_ask_has_found_nothing(
    database: Database, database_url: str
) -> None:
    import_three_users(database)
    writer = WriterAlone(context_on(database_url))
    try:
        writer.tell(MakeDue(), writer.claim_due())
        writer.tell(WriteCalculations(calculated(database, rows(database, "claim"))))
        writer.tell(writer.claim_deliveries())
        (claimed,) = [each for each in writer.told(ERP_GATEWAY) if isinstance(each, ClaimedDeliveries)]
        writer.tell(writer.claim_deliveries())
        assert writer.told(ERP_GATEWAY)[-1].deliveries == []
        absent = Outcome(OutcomeKind.ABSENT, "GET", 404, "it does not have it")
        writer.tell(WriteOutcome(claimed.deliveries[0], absent))
        assert writer.told(ERP_GATEWAY)[-1] == Poll()
    finally:
        writer.close()


class Arriving(SystemClock):
    """Whoever waits by it finds that something has arrived meanwhile."""

    def __init__(self) -> None:
        self.arrive: Callable[[], None] = lambda: None
        self.waits = 0

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        self.waits += 1
        self.arrive()
        return super().wait(event, seconds)


def test_answers_that_come_soon_after_each_other_are_stored_in_one_transaction(
    database: Database, database_url: str
) -> None:
    import_three_users(database)
    clock = Arriving()
    writer = WriterAlone(make_context(database_url, clock, **LIMITS))
    try:
        writer.tell(MakeDue(), writer.claim_due())
        writer.tell(WriteCalculations(calculated(database, rows(database, "claim"))))
        writer.tell(writer.claim_deliveries())
        (claimed,) = [each for each in writer.told(ERP_GATEWAY) if isinstance(each, ClaimedDeliveries)]
        first, second, third = (registered(each, f"B-{each.invoice_id}") for each in claimed.deliveries)
        writer.queue(writer.claim_deliveries())
        writer.tell(first)
        assert clock.waits == 0, "somebody waits for a claim"
        clock.arrive = lambda: writer.queue(third)
        writer.tell(second)
        with database.transaction() as connection:
            stored = "SELECT write_id FROM invoice_history WHERE to_state = 'registered'"
            assert sorted(map(fetch_column(connection, stored).count, {*fetch_column(connection, stored)})) == [1, 2]
    finally:
        writer.close()


def test_claims_come_before_calculations_that_are_stored_and_between_them(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_three_users(database)
    monkeypatch.setattr(writer_module, "CALCULATIONS_AT_MOST", 1)
    writer = WriterAlone(context_on(database_url))

    def calculated_now() -> int:
        return list(rows(database, "state").values()).count("calculated")

    try:
        writer.tell(MakeDue(), writer.claim_due())
        writer.queue(WriteCalculations(calculated(database, rows(database, "claim"))))
        before = len(writer.all_told)
        writer.tell(writer.claim_due())
        told = [(name, type(message)) for name, message in writer.all_told[before:]]
        assert told.index((BILLER, ClaimedDue)) < told.index((ERP_GATEWAY, Poll))
        assert calculated_now() == 1
        writer.until(lambda: calculated_now() == 3)
    finally:
        writer.close()
