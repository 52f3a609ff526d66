"""Calculates due invoices as a daemon would, for tests that need some and no daemon."""

import uuid
from zoneinfo import ZoneInfo

from billing.invoice import Invoice, calculate
from persistence.connection.database import Database
from persistence.invoices import claims
from persistence.invoices.calculation_inputs import fetch_inputs
from persistence.invoices.calculations import store_calculations
from persistence.invoices.claims import Claimer

BY = Claimer("here#1", 60.0)


def calculate_due(database: Database) -> set[str]:
    """Calculates all that is due and ready; returns the ids."""
    with database.transaction() as connection:
        claimed = {each.invoice_id: each.claim for each in claims.claim_due(connection, BY, claims.Wanted(100))}
        made = [calculate(basis, 95) for basis in fetch_inputs(connection, list(claimed), ZoneInfo("Europe/Zagreb"))]
        pairs = [(claimed[str(each.id)], each) for each in made if isinstance(each, Invoice)]
        return set(store_calculations(connection, BY.name, uuid.uuid4(), pairs).done)
