"""Billed months for tests of the operator's commands: real readings, calculated and booked at a fake ERP, no daemon."""

import uuid
from collections.abc import Collection

from altibiz.client import AltibizClient
from altibiz.fake.server import FakeAltibiz
from billing.erp_answers import OutcomeKind
from persistence.connection.database import Database
from persistence.invoices import claims, due_invoices
from persistence.invoices.changes import Change, apply_changes
from persistence.invoices.claims import Delivery
from persistence.invoices.listing import Filter, list_invoices
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from supervision.clock import SystemClock
from tests.support.calculated_rows import BY, calculate_due
from tests.support.sample import BAD

AUGUST = tuple(f"user-{user}.2026-08.1" for user in ("004", "008", "012"))


def calculate_august(database: Database) -> None:
    """The three users of tests/data/bad and their calculated invoices of 2026-08."""
    with database.transaction() as connection:
        import_master(connection, BAD / "master.yaml")
    with database.transaction() as connection:
        import_readings(connection, BAD / "readings-2026-08.csv.gz")
        due_invoices.make_due(connection, "test", ["2026-08"], reason="test")
    assert len(calculate_due(database)) == 3


def claim_offers(database: Database, limit: int = 100) -> list[Delivery]:
    """Marks what is calculated as sent, as a daemon does before it offers."""
    with database.transaction() as connection:
        return claims.claim_deliveries(connection, BY, claims.Wanted(limit))


def change(database: Database, *changes: Change) -> None:
    """Writes changes under their claims."""
    with database.transaction() as connection:
        assert len(apply_changes(connection, BY.name, uuid.uuid4(), changes)) == len(changes)


def hold(database: Database, delivery: Delivery, code: str = "erp_refused_invoice") -> None:
    """Lets an offered invoice be held."""
    reason = "422: no such code"
    change(
        database,
        Change(
            invoice_id=delivery.invoice_id, claim=delivery.claim, reason=reason, to_state="held", held_code=code,
            held_reason=reason, outcome="refused",
        ),
    )  # fmt: skip


def book(database: Database, erp: FakeAltibiz, *, but: Collection[str] = ()) -> None:
    """Offers what is calculated to the ERP and stores its bookings; those in `but` stay sent."""
    client = AltibizClient(erp.base_url, now=SystemClock().wall)
    for delivery in claim_offers(database, 100_000):
        if delivery.invoice_id in but:
            continue
        assert delivery.body is not None
        outcome = client.offer(delivery.invoice_id, delivery.body, delivery.total_with_tax_eur)
        assert outcome.kind is OutcomeKind.BOOKED
        assert outcome.booking is not None
        booking = outcome.booking
        change(
            database,
            Change(
                invoice_id=delivery.invoice_id, claim=delivery.claim, reason=f"the ERP has it {booking.state}",
                to_state=booking.state, bill_id=booking.bill_id, abort_reason=booking.abort_reason,
                outcome="booked", passed=True,
            ),
        )  # fmt: skip
    client.close()


def states(database: Database) -> dict[str, str]:
    """The state of each invoice."""
    with database.reading() as reader:
        return {each["id"]: each["state"] for each in list_invoices(reader, Filter())}
