"""Whose claim is whose: names of instances and of operators are told apart whole, never by how they begin."""

import uuid

import pytest
from sqlalchemy import text

from persistence import instances
from persistence.connection.database import Database
from persistence.invoices import claims, corrections
from persistence.invoices.claims import Claimer
from persistence.invoices.quarantine import count_crash
from tests.support.billed_months import AUGUST, calculate_august
from tests.support.calculated_rows import BY


def claimers(database: Database) -> set[str | None]:
    with database.transaction() as connection:
        return set(connection.execute(text("SELECT claimed_by FROM invoices")).scalars())


def test_item_14_an_instance_that_leaves_frees_no_claim_of_one_whose_name_begins_with_its_own(
    database: Database,
) -> None:
    calculate_august(database)
    leaving, other = uuid.uuid4(), f"a#b#{uuid.uuid4()}"
    with database.transaction() as connection:
        instances.register(connection, "a", leaving, "test")
        claims.claim_deliveries(connection, Claimer(other, 60.0), claims.Wanted(9))
        instances.deregister(connection, "a", leaving, "clean")
    assert claimers(database) == {other}


@pytest.mark.parametrize("instance", ["cli", "me", "here"])
def test_item_14_an_operators_claim_is_nobody_elses(database: Database, instance: str) -> None:
    """Neither a daemon that comes or goes, nor a look for what was lost, nor a crash that is counted, touches it."""
    calculate_august(database)
    with database.transaction() as connection:
        taken = corrections.take_up(connection, "waive", AUGUST[0], "cli:me", offer_seconds=0, lease_seconds=60)
    incarnation = uuid.uuid4()
    with database.transaction() as connection:
        instances.register(connection, instance, incarnation, "test")
        found = claims.claim_deliveries(connection, Claimer(f"{instance}#{incarnation}", 60.0), claims.Wanted(9))
        count_crash(
            connection, BY.name, uuid.uuid4(), AUGUST[:1], reason="x", max_attempts=1, backoff_base_seconds=1.0
        )  # fmt: skip
        instances.deregister(connection, instance, incarnation, "clean")
    assert sorted(each.invoice_id for each in found) == list(AUGUST[1:])
    assert claimers(database) == {taken.by, None}
    with database.transaction() as connection:
        corrections.waive(connection, taken, "cli:me", "x")
