"""Requests for recalculation: what is in hand is calculated again, and what waits for data waits no longer."""

import uuid

import pytest
from sqlalchemy import text

from persistence.connection.database import Database
from persistence.connection.statements import fetch_column
from persistence.invoices import claims, recalculation
from persistence.invoices.changes import Change, apply_changes
from persistence.locks import lock_invoices
from tests.persistence.test_claims import US, column, due, write
from tests.support.superuser import as_superuser

__all__ = ["due"]  # a fixture

# How an update of the one invoice :bad fails, each with another SQLSTATE, and what ends that.
REFUSALS = {
    "constraint": (
        "ALTER TABLE invoices ADD CONSTRAINT bad CHECK (id <> :bad) NOT VALID",
        "ALTER TABLE invoices DROP CONSTRAINT bad",
    ),
    "trigger": (
        "CREATE FUNCTION refuse_bad() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'not this one'; END$$;"
        " CREATE TRIGGER bad BEFORE UPDATE ON invoices FOR EACH ROW WHEN (OLD.id = :bad) EXECUTE FUNCTION refuse_bad()",
        "DROP TRIGGER bad ON invoices",
    ),
    "division": (
        "ALTER TABLE invoices ADD CONSTRAINT bad CHECK (1 / (id <> :bad)::integer = 1) NOT VALID",
        "ALTER TABLE invoices DROP CONSTRAINT bad",
    ),
}


def test_readings_that_arrive_during_a_calculation_refuse_its_result(due: Database) -> None:
    with due.transaction() as connection:
        stale = claims.claim_due(connection, US, claims.Wanted(10))
    with due.transaction() as connection:
        recalculation.request(connection, None)
    with due.transaction() as connection:
        assert recalculation.take_up(connection) == 3
    waits = [
        Change(invoice_id=each.invoice_id, claim=each.claim, reason="no reading", held_code="readings_incomplete",
               held_reason="no reading", delay_seconds=300.0)
        for each in stale
    ]  # fmt: skip
    assert write(due, *waits) == set()
    with due.transaction() as connection:
        assert len(claims.claim_due(connection, US, claims.Wanted(10))) == 3, "it is calculated again at once"


def no_reading(claimed: claims.Claimed) -> Change:
    return Change(
        invoice_id=claimed.invoice_id, claim=claimed.claim, reason="no reading", held_code="readings_incomplete",
        held_reason="no reading", delay_seconds=300.0,
    )  # fmt: skip


def test_item_11_what_is_claimed_before_an_import_commits_waits_for_nothing_behind_it(due: Database) -> None:
    with Database(due.settings) as biller:
        with due.transaction() as importing:
            recalculation.request(importing, None)
            with biller.transaction() as connection:
                claimed = claims.claim_due(connection, US, claims.Wanted(2))
                assert len(claimed) == 2, "an import holds no invoice"
                assert recalculation.take_up(connection) == 0, "nothing is committed yet"
            write(biller, no_reading(claimed[0]))  # one is stored before the import's commit, one after
        with biller.transaction() as connection:
            assert recalculation.take_up(connection) == 2
        assert write(biller, no_reading(claimed[1])) == set()
        with biller.transaction() as connection:
            assert len(claims.claim_due(connection, US, claims.Wanted(10))) == 1, "what was in hand, at once"
            assert len(claims.claim_due(connection, US, claims.Wanted(10, [claimed[1].invoice_id]))) == 2


def test_item_11_a_request_for_an_invoice_that_somebody_keeps_locked_is_kept_for_that_one(due: Database) -> None:
    with due.transaction() as connection:
        for each in (claimed := claims.claim_due(connection, US, claims.Wanted(10))):
            assert apply_changes(connection, US.name, uuid.uuid4(), [no_reading(each)])
    with due.transaction() as connection:
        recalculation.request(connection, None)
    with Database(due.settings) as idle, idle.transaction() as holding:
        assert lock_invoices(holding, [claimed[0].invoice_id])
        with due.transaction() as connection:
            assert recalculation.take_up(connection) == 2
        with due.transaction() as connection:
            requests = connection.execute(text("SELECT meter_id, invoice_id FROM recalculation_requests")).all()
            assert [tuple(row) for row in requests] == [(None, claimed[0].invoice_id)]
    with due.transaction() as connection:
        assert recalculation.take_up(connection) == 1
        assert recalculation.take_up(connection) == 0
    assert all(column(due, each.invoice_id, "next_attempt_at") is None for each in claimed)


def test_a_request_for_all_is_met_in_steps_what_is_in_hand_first(
    due: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recalculation, "AT_ONCE", 1)
    with due.transaction() as connection:
        claimed = sorted(claims.claim_due(connection, US, claims.Wanted(10)), key=lambda each: each.invoice_id)
    write(due, no_reading(claimed[0]), no_reading(claimed[1]))
    with due.transaction() as connection:
        recalculation.request(connection, None)

    def touched() -> list[int]:
        raised = [column(due, each.invoice_id, "claim") > each.claim for each in claimed]
        waits = [column(due, each.invoice_id, "next_attempt_at") is not None for each in claimed]
        return [number for number in range(3) if (raised[number] if number == 2 else not waits[number])]

    for expected in ([2], [0, 2], [0, 1, 2], [0, 1, 2]):
        with due.transaction() as connection:
            assert recalculation.take_up(connection) <= 1
        assert touched() == expected
    with due.transaction() as connection:
        assert fetch_column(connection, "SELECT id FROM recalculation_requests") == []


@pytest.mark.parametrize("how", ["constraint", "trigger", "division"])
def test_item_5_a_row_that_the_database_refuses_keeps_no_other_from_being_released(due: Database, how: str) -> None:
    with due.transaction() as connection:
        claimed = claims.claim_due(connection, US, claims.Wanted(10))
    refuse, permit = REFUSALS[how]
    as_superuser(due, refuse.replace(":bad", f"'{claimed[1].invoice_id}'"))
    before = {each.invoice_id: each.claim for each in claimed}
    with due.transaction() as connection:
        recalculation.request(connection, None)
    for released in (2, 0):
        with due.transaction() as connection:
            assert recalculation.take_up(connection) == released
    raised = [column(due, each, "claim") - claim for each, claim in before.items()]
    assert raised == [1, 0, 1]
    as_superuser(due, permit)
    with due.transaction() as connection:
        assert recalculation.take_up(connection) == 1
