"""A witness is another invoice that has passed the same step in the same daemon; a person's orders are none."""

import uuid

import pytest
from sqlalchemy import text

from billing.erp_answers import AnswerPolicy, Outcome, OutcomeKind
from persistence import instances
from persistence.connection.database import Database
from persistence.invoices.answers import store_answers
from persistence.invoices.calculations import store_calculations
from persistence.invoices.changes import Change, apply_changes
from persistence.invoices.claims import Claimer, Delivery
from persistence.invoices.conditions import instance_of
from persistence.invoices.exchanges import Exchange
from persistence.invoices.quarantine import count_crash
from tests.support.writer_alone import calculated, import_three_users

POISON, HEALTHY = "user-004.2026-08.1", "user-008.2026-08.1"
HERE, THERE = f"here#{uuid.UUID(int=1)}", f"there#{uuid.UUID(int=2)}"


@pytest.fixture
def due(database: Database) -> Database:
    import_three_users(database)
    with database.transaction() as connection:
        connection.execute(
            text("""INSERT INTO invoices (id, network_user_id, period, history_length)
                    SELECT id || '.2026-08.1', id, '2026-08', 0 FROM network_users""")
        )
    return database


def claim(database: Database, invoice_id: str, by: str) -> int:
    with database.transaction() as connection:
        return int(
            connection.execute(
                text("""UPDATE invoices SET claim = claim + 1, claimed_by = :by, claimed_for =
                        CASE WHEN state = 'due' THEN 'calculation' ELSE 'delivery' END, next_attempt_at = NULL,
                        claimed_until = now() + interval '1 minute' WHERE id = :id RETURNING claim"""),
                {"id": invoice_id, "by": by},
            ).scalar_one()
        )


def crash(database: Database, invoice_id: str = POISON) -> list[str]:
    claim(database, invoice_id, HERE)
    with database.transaction() as connection:
        return count_crash(
            connection, HERE, uuid.uuid4(), [invoice_id], reason="crashed", max_attempts=2, backoff_base_seconds=0.0
        )


def calculate(database: Database, invoice_id: str, by: str) -> None:
    pairs = calculated(database, {invoice_id: claim(database, invoice_id, by)})
    with database.transaction() as connection:
        assert store_calculations(connection, by, uuid.uuid4(), pairs).done == {invoice_id}


def book(database: Database, invoice_id: str, by: str, method: str = "PUT") -> None:
    change = Change(
        invoice_id=invoice_id, claim=claim(database, invoice_id, by), reason="booked", to_state="initiated",
        passed=True, exchange=Exchange(method, "booked", 201, "initiated"),
    )  # fmt: skip
    with database.transaction() as connection:
        assert apply_changes(connection, by, uuid.uuid4(), [change]) == {invoice_id}


def history(database: Database, invoice_id: str, actor: str, from_state: str) -> None:
    with database.transaction() as connection:
        connection.execute(
            text("""INSERT INTO invoice_history (invoice_id, seq, from_state, to_state, actor, reason, write_id)
                    VALUES (:id, 1, :from_state, 'calculated', :actor, 'test', gen_random_uuid())"""),
            {"id": invoice_id, "actor": actor, "from_state": from_state},
        )


def test_item_8_witness_is_a_calculation_of_the_same_daemon(due: Database) -> None:
    assert [crash(due), crash(due)] == [[], []]
    calculate(due, HEALTHY, THERE)
    assert crash(due) == [], "another daemon's calculation says nothing about this one"
    calculate(due, "user-012.2026-08.1", HERE)
    assert crash(due) == [POISON]


@pytest.mark.parametrize(
    ("actor", "from_state"),
    [("ana", "calculated"), ("ana", "held"), (HERE, "held"), ("here", "due"), (f"here#b#{uuid.UUID(int=3)}", "due")],
)
def test_item_8_witness_is_no_persons_order_and_no_other_instance(due: Database, actor: str, from_state: str) -> None:
    assert [crash(due), crash(due)] == [[], []]
    history(due, HEALTHY, actor, from_state)
    assert crash(due) == []


@pytest.mark.parametrize("what", ["crash", "refusal", "incorrect"])
def test_item_8_witness_is_a_booking_of_the_same_daemon(due: Database, what: str) -> None:
    for each in (POISON, HEALTHY, "user-012.2026-08.1"):
        calculate(due, each, HERE)

    def count() -> bool:
        if what == "crash":
            return crash(due) == [POISON]
        kind = OutcomeKind.REFUSED if what == "refusal" else OutcomeKind.INCORRECT
        with due.transaction() as connection:
            (total, incorrect) = connection.execute(
                text("SELECT total_with_tax_eur, incorrect_count FROM invoices WHERE id = :id"), {"id": POISON}
            ).one()
        delivery = Delivery(POISON, claim(due, POISON, HERE), "offer", "sent", total, b"{}", 0, 0, incorrect)
        answers = [(delivery, Outcome(kind, "PUT", 422, "422"))]
        policy = AnswerPolicy(0.0, 0.0, 0.0, 2, lambda _, most: most)
        with due.transaction() as connection:
            return POISON in store_answers(connection, HERE, uuid.uuid4(), answers, policy).held

    assert [count(), count()] == [False, False]
    book(due, HEALTHY, THERE)
    assert not count(), "another daemon's booking says nothing about this one's surroundings"
    book(due, "user-012.2026-08.1", HERE)
    assert count()


def test_item_14_an_instance_frees_only_its_own_claims(due: Database) -> None:
    """Instance `a` must not free what a living instance `a#b` has in hand."""
    mine, theirs = f"a#{uuid.uuid4()}", f"a#b#{uuid.uuid4()}"
    claim(due, POISON, mine)
    claim(due, HEALTHY, theirs)
    with due.transaction() as connection:
        arrival = instances.register(connection, "a", uuid.uuid4(), "test")
    assert arrival.freed == 1
    with due.transaction() as connection:
        held = connection.execute(text("SELECT id, claimed_by FROM invoices WHERE claimed_by IS NOT NULL")).all()
    assert [tuple(row) for row in held] == [(HEALTHY, theirs)]


def test_item_14_a_stale_change_never_wins_over_a_valid_one_in_its_batch(due: Database) -> None:
    stale_claim = claim(due, POISON, HERE)
    valid_claim = claim(due, POISON, HERE)
    stale, valid = (
        Change(invoice_id=POISON, claim=number, reason=held, held_code=held, held_reason=held, delay_seconds=60.0)
        for number, held in ((stale_claim, "stale"), (valid_claim, "valid"))
    )
    for changes in ([stale, valid], [valid, stale], [valid, stale, stale], [stale, stale, valid]):
        with due.transaction() as connection:
            assert apply_changes(connection, HERE, uuid.uuid4(), changes) == {POISON}
            code = connection.execute(text("SELECT held_code FROM invoices WHERE id = :id"), {"id": POISON}).scalar()
            assert code == "valid", changes
            connection.rollback()


def test_item_14_of_two_changes_under_one_claim_the_first_is_made(due: Database) -> None:
    number = claim(due, POISON, HERE)
    changes = [
        Change(invoice_id=POISON, claim=number, reason=held, held_code=held, held_reason=held) for held in ("1", "2")
    ]
    with due.transaction() as connection:
        apply_changes(connection, HERE, uuid.uuid4(), changes)
        assert connection.execute(text("SELECT held_code FROM invoices WHERE id = :id"), {"id": POISON}).scalar() == "1"


def test_item_14_a_stale_calculation_never_wins_over_a_valid_one_in_its_batch(due: Database) -> None:
    stale = calculated(due, {POISON: claim(due, POISON, HERE)})
    valid = calculated(due, {POISON: claim(due, POISON, HERE)})
    for pairs in ([*stale, *valid], [*valid, *stale]):
        with due.transaction() as connection:
            assert store_calculations(connection, HERE, uuid.uuid4(), pairs).done == {POISON}
            connection.rollback()


def test_item_7_a_batch_that_crashed_has_its_first_failure_kept_for_witnesses(due: Database) -> None:
    """What of a halved batch passes later is witness against what does not."""
    ids = [POISON, HEALTHY]
    for each in ids:
        claim(due, each, HERE)
    with due.transaction() as connection:
        count_crash(connection, HERE, uuid.uuid4(), ids, reason="hung", max_attempts=2, backoff_base_seconds=0.0)
        since = connection.execute(text("SELECT crash_since FROM invoices WHERE batch_limit = 1")).scalars().all()
        assert len(since) == 2
        assert None not in since
    calculate(due, HEALTHY, HERE)
    assert crash(due) == []
    assert crash(due) == [POISON]
    assert instance_of(Claimer(HERE, 1.0).name) == "here"
