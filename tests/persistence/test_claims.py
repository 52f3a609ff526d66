"""Claims, writes and blame on a real database: what fences, what is lost and found, what is held and what is not."""

import uuid
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from billing.erp_answers import OFFER_AGAIN, AnswerPolicy, Outcome, OutcomeKind, not_sent
from billing.invoice import Invoice, calculate
from persistence import instances
from persistence.connection.database import Database
from persistence.connection.errors import RowRefused
from persistence.invoices import claims, due_invoices, held_invoices, recalculation
from persistence.invoices.answers import store_answers
from persistence.invoices.calculation_inputs import fetch_inputs
from persistence.invoices.calculations import store_calculations
from persistence.invoices.changes import Change, apply_changes
from persistence.invoices.claims import Claimer, Delivery
from persistence.invoices.exchanges import Exchange
from persistence.invoices.listing import Filter, list_invoices, show_invoices
from persistence.invoices.quarantine import count_crash
from persistence.invoices.transitions import was_written
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from tests.support.sample import BAD

ZAGREB = ZoneInfo("Europe/Zagreb")
US = Claimer("here#1", 60.0)
OTHERS = Claimer("there#1", 60.0)
AT_ONCE = AnswerPolicy(0.0, 0.0, 0.0, 2, lambda _, most: most)


@pytest.fixture
def due(database: Database) -> Database:
    """Three users' invoices of August are due, their readings are there."""
    with database.transaction() as connection:
        import_master(connection, BAD / "master.yaml")
    with database.transaction() as connection:
        import_readings(connection, BAD / "readings-2026-08.csv.gz")
    with database.transaction() as connection:
        assert due_invoices.make_due(connection, "test", ["2026-08"], reason="test") == 3
        assert recalculation.take_up(connection) == 0
    return database


@pytest.fixture
def calculated(due: Database) -> Database:
    with due.transaction() as connection:
        claimed = claims.claim_due(connection, US, claims.Wanted(10))
    with due.transaction() as connection:
        number = {each.invoice_id: each.claim for each in claimed}
        made = [calculate(basis, 95) for basis in fetch_inputs(connection, list(number), ZAGREB)]
        pairs = [(number[str(each.id)], each) for each in made if isinstance(each, Invoice)]
        assert len(store_calculations(connection, US.name, uuid.uuid4(), pairs).done) == 3
    return due


def deliveries(database: Database, by: Claimer, *, limit: int = 10, holding: tuple[str, ...] = ()) -> list[Delivery]:
    with database.transaction() as connection:
        return claims.claim_deliveries(connection, by, claims.Wanted(limit, holding))


def booked(delivery: Delivery, method: str = "PUT") -> Change:
    return Change(
        invoice_id=delivery.invoice_id, claim=delivery.claim, reason="booked", to_state="registered",
        bill_id=f"B-{delivery.invoice_id}", outcome="booked", passed=True,
        exchange=Exchange(method, "booked", 201, "registered"),
    )  # fmt: skip


def write(database: Database, *changes: Change, by: Claimer = US) -> set[str]:
    with database.transaction() as connection:
        return apply_changes(connection, by.name, uuid.uuid4(), changes)


def column(database: Database, invoice_id: str, name: str) -> Any:
    with database.transaction() as connection:
        return connection.execute(text(f"SELECT {name} FROM invoices WHERE id = :id"), {"id": invoice_id}).scalar_one()


def expire(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(
            text("UPDATE invoices SET claimed_until = now() - interval '1 second' WHERE claimed_by IS NOT NULL")
        )


def test_making_due_again_makes_nothing(due: Database) -> None:
    with due.transaction() as connection:
        assert due_invoices.make_due(connection, "test", ["2026-07", "2026-08"], reason="test") == 0
        assert due_invoices.first_billed_period(connection) == "2026-08"


def test_two_claimers_never_get_the_same_invoice(due: Database) -> None:
    with due.transaction() as connection:
        ours = claims.claim_due(connection, US, claims.Wanted(2))
    with due.transaction() as connection:
        theirs = claims.claim_due(connection, OTHERS, claims.Wanted(10))
    assert len(ours) == 2
    assert len(theirs) == 1
    assert not {each.invoice_id for each in ours} & {each.invoice_id for each in theirs}


@pytest.mark.parametrize("bisected", [False, True])
def test_item_9_what_is_in_hand_stays_there_when_the_clock_is_set_forward(calculated: Database, bisected: bool) -> None:
    """Every lease seems over, and the requests are under way: a question now would be answered with what was."""
    if bisected:
        with calculated.transaction() as connection:
            connection.execute(text("UPDATE invoices SET batch_limit = 3"))
    in_hand = tuple(offer.invoice_id for offer in deliveries(calculated, US))
    assert len(in_hand) == 3
    expire(calculated)
    assert deliveries(calculated, US, holding=in_hand) == []
    assert [each.action for each in deliveries(calculated, US)] == ["ask"] * 3, "nobody holds it any more"


def test_an_offer_is_marked_sent_before_it_can_leave(calculated: Database) -> None:
    offers = deliveries(calculated, US)
    assert [offer.action for offer in offers] == ["offer"] * 3
    assert all(offer.body and offer.state == "sent" for offer in offers)
    assert column(calculated, offers[0].invoice_id, "attempts") == 1
    shown = show(calculated, offers[0].invoice_id)
    assert [entry["to_state"] for entry in shown["history"]] == ["due", "calculated", "sent"]


def show(database: Database, invoice_id: str) -> dict[str, list[dict[str, object]]]:
    with database.reading() as reader:
        return show_invoices(reader, [invoice_id])[0]


def test_who_finds_an_invoice_in_sent_asks_first(calculated: Database) -> None:
    deliveries(calculated, US)
    expire(calculated)
    assert [each.action for each in deliveries(calculated, OTHERS)] == ["ask"] * 3


@pytest.mark.parametrize("outcome", OFFER_AGAIN)
def test_after_some_outcomes_it_is_offered_again_without_asking(calculated: Database, outcome: str) -> None:
    first = deliveries(calculated, US, limit=1)[0]
    write(calculated, Change(invoice_id=first.invoice_id, claim=first.claim, reason="later", outcome=outcome))
    again = next(each for each in deliveries(calculated, US) if each.invoice_id == first.invoice_id)
    assert again.action == "offer"


@pytest.mark.parametrize("outcome", ["unreachable", "error", "nonsense", "incorrect"])
def test_after_the_others_it_is_asked_first(calculated: Database, outcome: str) -> None:
    first = deliveries(calculated, US, limit=1)[0]
    write(calculated, Change(invoice_id=first.invoice_id, claim=first.claim, reason="later", outcome=outcome))
    again = next(each for each in deliveries(calculated, US) if each.invoice_id == first.invoice_id)
    assert again.action == "ask"


def test_a_write_under_a_claim_that_was_taken_over_changes_nothing(calculated: Database) -> None:
    frozen = deliveries(calculated, US)[0]
    expire(calculated)
    taken = next(each for each in deliveries(calculated, OTHERS) if each.invoice_id == frozen.invoice_id)
    assert write(calculated, booked(frozen)) == set()
    assert column(calculated, frozen.invoice_id, "state") == "sent"
    assert write(calculated, booked(taken, "GET"), by=OTHERS) == {frozen.invoice_id}


def test_a_repeated_write_changes_nothing(calculated: Database) -> None:
    offer = deliveries(calculated, US)[0]
    assert write(calculated, booked(offer)) == {offer.invoice_id}
    assert write(calculated, replace(booked(offer), bill_id="another")) == set()
    assert column(calculated, offer.invoice_id, "bill_id") == f"B-{offer.invoice_id}"


def test_what_this_process_claimed_and_lost_is_found_by_its_next_look(calculated: Database) -> None:
    first = deliveries(calculated, US)
    held, lost = first[0], {each.invoice_id for each in first[1:]}
    found = deliveries(calculated, US, holding=(held.invoice_id,))
    assert {each.invoice_id for each in found} == lost
    assert all(each.action == "ask" for each in found)


def test_a_bill_id_that_another_invoice_has_is_refused_by_the_database(calculated: Database) -> None:
    one, two, _ = deliveries(calculated, US)
    write(calculated, booked(one))
    with pytest.raises(RowRefused) as refused:
        write(calculated, replace(booked(two), bill_id=f"B-{one.invoice_id}"))
    assert refused.value.constraint == "invoices_bill_id_key"


def refuse(database: Database, delivery: Delivery) -> bool:
    refused = Outcome(OutcomeKind.REFUSED, "PUT", 422, "422")
    with database.transaction() as connection:
        stored = store_answers(connection, US.name, uuid.uuid4(), [(delivery, refused)], AT_ONCE)
    return delivery.invoice_id in stored.held


def test_what_was_given_back_counts_as_no_attempt_and_is_no_exchange(calculated: Database) -> None:
    (offer, *_) = deliveries(calculated, US)
    with calculated.transaction() as connection:
        answers = [(offer, not_sent("PUT", "nothing leaves for the ERP now"))]
        assert store_answers(connection, US.name, uuid.uuid4(), answers, AT_ONCE).done == {offer.invoice_id}
        assert connection.execute(text("SELECT count(*) FROM erp_exchanges")).scalar() == 0
    assert column(calculated, offer.invoice_id, "attempts") == 0
    assert again(calculated, offer.invoice_id).action == "offer"


def again(database: Database, invoice_id: str) -> Delivery:
    with database.reading() as reader:
        others = [each["id"] for each in list_invoices(reader, Filter()) if each["id"] != invoice_id]
    return next(each for each in deliveries(database, US, holding=tuple(others)) if each.invoice_id == invoice_id)


def test_without_a_witness_nobody_is_held_however_often_it_is_refused(calculated: Database) -> None:
    invoice_id = deliveries(calculated, US)[0].invoice_id
    expire(calculated)
    for _ in range(10):
        assert not refuse(calculated, again(calculated, invoice_id))
    assert column(calculated, invoice_id, "state") == "sent"


def test_with_a_witness_it_is_held_at_its_next_refusal(calculated: Database) -> None:
    one, two, three = deliveries(calculated, US)
    write(calculated, booked(two))
    assert not refuse(calculated, one), "a witness from before the first refusal is none"
    write(calculated, booked(again(calculated, three.invoice_id), "PUT"))
    assert refuse(calculated, again(calculated, one.invoice_id))
    assert column(calculated, one.invoice_id, "held_code") == "erp_refused_invoice"
    assert column(calculated, one.invoice_id, "held_from") == "sent"


def test_a_retry_puts_a_held_invoice_back_where_it_stood(calculated: Database) -> None:
    test_with_a_witness_it_is_held_at_its_next_refusal(calculated)
    with calculated.transaction() as connection:
        (invoice_id,) = held_invoices.held_ids(connection)
        assert held_invoices.retry_held(connection, "person", invoice_id, "mended") is None
        assert held_invoices.retry_held(connection, "person", invoice_id, "mended") == "it is not held, it is sent"
    assert column(calculated, invoice_id, "refused_since") is None
    assert again(calculated, invoice_id).action == "offer"


def crash(database: Database, *ids: str) -> list[str]:
    with database.transaction() as connection:
        return count_crash(
            connection, US.name, uuid.uuid4(), ids, reason="biller crashed", max_attempts=2, backoff_base_seconds=0.0
        )


def test_a_batch_that_crashes_is_worked_on_again_in_halves_down_to_the_poison(due: Database) -> None:
    with due.transaction() as connection:
        batch = claims.claim_due(connection, US, claims.Wanted(10))
    assert crash(due, *(each.invoice_id for each in batch)) == []
    with due.transaction() as connection:
        half = claims.claim_due(connection, US, claims.Wanted(10))
        assert len(half) == 2
    assert crash(due, *(each.invoice_id for each in half)) == []
    with due.transaction() as connection:
        assert len(claims.claim_due(connection, US, claims.Wanted(10))) == 1


def test_counts_of_crashes_hold_an_invoice_only_with_a_witness(due: Database) -> None:
    with due.transaction() as connection:
        poison, *healthy = claims.claim_due(connection, US, claims.Wanted(10))
    for _ in range(3):
        assert crash(due, poison.invoice_id) == []
        claim_again(due, poison.invoice_id, holding=tuple(each.invoice_id for each in healthy))
    with due.transaction() as connection:
        number = {each.invoice_id: each.claim for each in healthy}
        made = [calculate(basis, 95) for basis in fetch_inputs(connection, list(number), ZAGREB)]
        pairs = [(number[str(each.id)], each) for each in made if isinstance(each, Invoice)]
        store_calculations(connection, US.name, uuid.uuid4(), pairs)
    assert crash(due, poison.invoice_id) == [poison.invoice_id]
    assert column(due, poison.invoice_id, "held_code") == "poison_invoice"


def claim_again(database: Database, invoice_id: str, holding: tuple[str, ...]) -> None:
    with database.transaction() as connection:
        claimed = claims.claim_due(connection, US, claims.Wanted(10, holding))
        assert [each.invoice_id for each in claimed] == [invoice_id]


def test_an_unclean_end_frees_what_was_in_hand_and_two_make_it_suspect(due: Database) -> None:
    first, second, third = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    with due.transaction() as connection:
        assert instances.register(connection, "here", first, "1").down_seconds is None
    for incarnation, limits in ((second, {None}), (third, {2})):
        with due.transaction() as connection:
            claims.claim_due(connection, US, claims.Wanted(10))
        with due.transaction() as connection:
            arrival = instances.register(connection, "here", incarnation, "1")
            assert not arrival.clean
            assert arrival.freed == 3
            assert set(connection.execute(text("SELECT batch_limit FROM invoices")).scalars()) == limits


def test_a_clean_end_is_told_from_an_unclean_one(due: Database) -> None:
    first, second = uuid.uuid4(), uuid.uuid4()
    with due.transaction() as connection:
        instances.register(connection, "here", first, "1")
        instances.deregister(connection, "here", first, "clean")
        assert instances.register(connection, "here", second, "1").clean
        assert not instances.heartbeat(connection, "here", first)


def test_a_write_is_found_by_its_id(calculated: Database) -> None:
    offer = deliveries(calculated, US)[0]
    write_id = uuid.uuid4()
    with calculated.transaction() as connection:
        assert not was_written(connection, write_id)
        apply_changes(connection, US.name, write_id, [booked(offer)])
    with calculated.transaction() as connection:
        assert was_written(connection, write_id)


def test_the_same_outcome_again_counts_up_one_exchange(calculated: Database) -> None:
    invoice_id = deliveries(calculated, US)[0].invoice_id
    expire(calculated)
    for _ in range(5):
        each = again(calculated, invoice_id)
        failed = Exchange("GET", "error", 503, "503")
        write(calculated, Change(invoice_id=invoice_id, claim=each.claim, reason="later", exchange=failed))
    assert [entry["times"] for entry in show(calculated, invoice_id)["exchanges"]] == [5]


def test_a_probe_takes_the_least_recently_tried_and_not_the_one_that_failed_last(calculated: Database) -> None:
    first = deliveries(calculated, US, limit=1)[0]
    waits = Change(invoice_id=first.invoice_id, claim=first.claim, reason="later", delay_seconds=600.0)
    write(calculated, waits)
    with calculated.transaction() as connection:
        connection.execute(
            text("UPDATE invoices SET last_attempt_at = now() + interval '1 hour' WHERE id <> :id"),
            {"id": first.invoice_id},
        )
        (probe,) = claims.claim_deliveries(connection, US, claims.Wanted(1, never=first.invoice_id), "probe")
        assert probe.invoice_id != first.invoice_id
        (probe,) = claims.claim_deliveries(connection, US, claims.Wanted(1), "probe")
        assert probe.invoice_id == first.invoice_id, "whatever its next attempt says"
