"""What the db_writer stores of answers that only our own tables can contradict."""

from decimal import Decimal

from actors.messages import (
    ERP_GATEWAY,
    BookingContradicted,
    ClaimedDeliveries,
    MakeDue,
    WriteCalculations,
    WriteOutcome,
)
from billing.erp_answers import Booking, Outcome, OutcomeKind
from persistence.connection.database import Database
from persistence.invoices.claims import Delivery
from tests.support.writer_alone import WriterAlone, calculated, context_on, import_three_users, rows


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
        told = [each for each in writer.told(ERP_GATEWAY) if isinstance(each, BookingContradicted)]
        assert told == [BookingContradicted(other.invoice_id, "its bill_id B-1 is another invoice's")]
        states = rows(database, "state")
        assert (states[one.invoice_id], states[other.invoice_id]) == ("registered", "sent")
        assert rows(database, "last_outcome")[other.invoice_id] == "incorrect"
        assert rows(database, "crash_count")[other.invoice_id] == 0
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
