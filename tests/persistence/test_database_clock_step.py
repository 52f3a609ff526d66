"""A database whose clock is set back: nothing waits for the time that was, nothing counts that has not happened yet."""

import uuid
from random import Random
from typing import Any

import pytest
from sqlalchemy import text

from actors.condition_reporter import ConditionReporter
from actors.context import ActorContext, SettingsHolder
from actors.instance_registration import InstanceRegistration
from alarming.catalogue import CATALOGUE, Code
from billing.erp_answers import AnswerPolicy, Outcome, OutcomeKind
from config.settings import Settings
from persistence import instances
from persistence.alarms import AlarmRecord, Severity, StateSettings, acknowledge, read_state, store
from persistence.clock_step import clamp_times
from persistence.connection.database import ConnectionSettings, Database
from persistence.invoices import claims, corrections
from persistence.invoices.answers import store_answers
from persistence.invoices.changes import Change, apply_changes
from persistence.invoices.claims import Claimer
from persistence.invoices.delivery_pause import pause
from persistence.invoices.exchanges import Exchange
from persistence.invoices.overview import pause_in_force
from supervision.clock import SystemClock
from tests.support.billed_months import AUGUST, calculate_august, claim_offers
from tests.support.calculated_rows import BY
from tests.support.supervision import FakeClock

STEP_SECONDS = 10 * 365 * 86_400.0
FIRST, SECOND, THIRD = AUGUST
CLAIMED = "claimed_by = :by, claimed_for = 'delivery', claimed_until = now()"
LIMITS = {"longest_wait_seconds": 300.0, "lease_seconds": 60.0, "longest_lease_seconds": 215.0}


@pytest.fixture
def billed(database: Database) -> Database:
    calculate_august(database)
    return database


def run(database: Database, statement: str, **parameters: Any) -> list[Any]:
    with database.transaction() as connection:
        result = connection.execute(text(statement), parameters)
        return list(result.all()) if result.returns_rows else []


def ahead(database: Database, column: str, invoice_id: str = FIRST) -> float | None:
    """By how many seconds it lies ahead of the database's clock."""
    seconds = f"extract(epoch FROM {column} - clock_timestamp())::float8"
    ((found,),) = run(database, f"SELECT {seconds} FROM invoices WHERE id = :id", id=invoice_id)
    return None if found is None else float(found)


def set_clock_back(database: Database, seconds: float = STEP_SECONDS) -> None:
    """As the rows of invoices look when the clock has been set back: all that was stored lies so far ahead."""
    columns = (
        "next_attempt_at", "claimed_until", "last_attempt_at", "refused_since", "incorrect_since", "crash_since",
        "updated_at",
    )  # fmt: skip
    moved = ", ".join(f"{column} = {column} + make_interval(secs => :seconds)" for column in columns)
    run(database, f"UPDATE invoices SET {moved}", seconds=seconds)


def registration(clock: Any = None) -> InstanceRegistration:
    parts = ActorContext(
        SettingsHolder(Settings()),
        clock or SystemClock(),
        Random(1),
        SystemClock().wall,
        "test",
        uuid.uuid4(),
        "0",
        True,
        Database,
    )
    return InstanceRegistration(parts, ConditionReporter(lambda *_: None, ()))


def show(database: Database, shown: InstanceRegistration) -> None:
    with database.transaction() as connection:
        shown.show(connection)


def claim(database: Database) -> list[str]:
    with database.transaction() as connection:
        found = claims.claim_deliveries(connection, Claimer("other#1", 60.0), claims.Wanted(10))
    return sorted(each.invoice_id for each in found)


def test_item_9_a_daemon_that_starts_waits_for_no_time_that_was_set_back(billed: Database) -> None:
    waits = "next_attempt_at = now() + interval '2 s', refused_since = now()"
    run(billed, f"UPDATE invoices SET {waits} WHERE id = :id", id=FIRST)
    run(billed, f"UPDATE invoices SET {CLAIMED} WHERE id = :id", id=SECOND, by="gone#1")
    set_clock_back(billed)
    assert claim(billed) == [THIRD]
    show(billed, registration())
    wait, lease = ahead(billed, "next_attempt_at"), ahead(billed, "claimed_until", SECOND)
    assert wait is not None
    assert 290 < wait <= Settings().erp.retry.max_seconds
    assert lease is not None
    assert 50 < lease <= Settings().work.lease_seconds
    assert (ahead(billed, "refused_since") or 0) <= 0
    assert max(ahead(billed, "updated_at", each) or 0 for each in AUGUST) <= 0
    assert ahead(billed, "next_attempt_at", SECOND) is None, "at once stays at once"


def test_item_9_a_daemon_at_work_sees_the_clock_go_back(billed: Database) -> None:
    clock = FakeClock()
    shown = registration(clock)
    show(billed, shown)
    set_clock_back(billed)
    show(billed, shown)
    assert (ahead(billed, "updated_at") or 0) > STEP_SECONDS / 2, "nothing has shown that the clock was set back"
    clock.advance(3600)  # CLOCK_BOOTTIME went on, the database's clock did not
    show(billed, shown)
    assert (ahead(billed, "updated_at") or 0) <= 0


def test_item_9_a_look_that_takes_long_is_no_step(billed: Database) -> None:
    class Frozen(FakeClock):
        """The process is frozen between its first two readings of CLOCK_BOOTTIME, behind the database's answer."""

        readings = 0

        def boottime(self) -> float:
            self.readings += 1
            if self.readings == 2:
                self.advance(600)
            return super().boottime()

    shown = registration(Frozen())
    show(billed, shown)
    set_clock_back(billed)
    show(billed, shown)
    assert (ahead(billed, "updated_at") or 0) > 0


def test_item_9_what_is_within_its_limits_stays(billed: Database) -> None:
    run(billed, f"UPDATE invoices SET {CLAIMED}, next_attempt_at = now() + interval '200 s'", by="other#1")
    run(billed, "UPDATE invoices SET claimed_until = now() + interval '200 s', last_attempt_at = now()")
    before = run(billed, "SELECT * FROM invoices ORDER BY id")
    with billed.transaction() as connection:
        assert clamp_times(connection, **LIMITS)
    assert run(billed, "SELECT * FROM invoices ORDER BY id") == before


def test_item_9_what_is_locked_is_left_for_the_next_look(billed: Database, database_url: str) -> None:
    set_clock_back(billed)
    with Database(ConnectionSettings.from_url(database_url)) as other, other.transaction() as theirs:
        theirs.execute(text("SELECT FROM invoices WHERE id = :id FOR UPDATE"), {"id": SECOND})
        with billed.transaction(2.0) as connection:
            assert not clamp_times(connection, **LIMITS)
        assert (ahead(billed, "updated_at", SECOND) or 0) > 0
        assert (ahead(billed, "updated_at", THIRD) or 0) <= 0
    with billed.transaction() as connection:
        assert clamp_times(connection, **LIMITS)
    assert (ahead(billed, "updated_at", SECOND) or 0) <= 0


def test_item_9_an_operators_order_waits_no_longer_than_an_offer_takes(billed: Database) -> None:
    (offer, *_) = claim_offers(billed)
    with billed.transaction() as connection:
        change = Change(
            invoice_id=offer.invoice_id, claim=offer.claim, reason="422", to_state="held",
            held_code="erp_refused_invoice", held_reason="422", outcome="refused",
        )  # fmt: skip
        assert apply_changes(connection, BY.name, uuid.uuid4(), [change])
    set_clock_back(billed)
    with billed.transaction() as connection:
        taken = corrections.take_up(
            connection, "waive", offer.invoice_id, "me", offer_seconds=60.0, lease_seconds=120.0
        )
    assert taken.wait_seconds is not None
    assert 50 < taken.wait_seconds <= 60


def test_item_9_a_booking_from_before_the_step_is_no_witness(billed: Database) -> None:
    first, second, *_ = claim_offers(billed)

    booked = Change(
        invoice_id=first.invoice_id, claim=first.claim, reason="booked", to_state="registered", bill_id="B-1",
        outcome="booked", passed=True, exchange=Exchange("PUT", "booked", 201, "booked"),
    )  # fmt: skip
    refused = [(second, Outcome(OutcomeKind.REFUSED, "PUT", 422, "422"))]
    policy = AnswerPolicy(0.0, 0.0, 0.0, 5, lambda _, most: most)
    with billed.transaction() as connection:
        assert apply_changes(connection, BY.name, uuid.uuid4(), [booked])
    run(billed, "UPDATE erp_exchanges SET last_at = last_at + make_interval(secs => :step)", step=STEP_SECONDS)
    for _ in range(2):
        run(billed, f"UPDATE invoices SET {CLAIMED} WHERE id = :id", by=BY.name, id=second.invoice_id)
        with billed.transaction() as connection:
            stored = store_answers(connection, BY.name, uuid.uuid4(), refused, policy)
            assert (set(stored.done), set(stored.held)) == ({second.invoice_id}, set())


def test_item_9_a_pause_keeps_its_length(billed: Database) -> None:
    with billed.transaction() as connection:
        pause(connection, "me", "maintenance", 60.0)
    moved = "SET since = since + make_interval(secs => :step), until = until + make_interval(secs => :step)"
    run(billed, f"UPDATE delivery_pauses {moved}", step=STEP_SECONDS)
    show(billed, registration())
    with billed.transaction() as connection:
        standing = pause_in_force(connection)
        assert standing is not None
        assert (standing.until - standing.since).total_seconds() == 60
        assert (standing.until - connection.execute(text("SELECT now()")).scalar_one()).total_seconds() < 61


def test_item_9_a_daemon_that_is_gone_does_not_look_alive(billed: Database) -> None:
    with billed.transaction() as connection:
        instances.register(connection, "gone", uuid.uuid4(), "0")
    run(billed, "UPDATE instances SET seen_at = seen_at + make_interval(secs => :step)", step=STEP_SECONDS)
    with billed.transaction() as connection:
        arrival = instances.register(connection, "gone", uuid.uuid4(), "0")
    assert arrival.down_seconds == 0
    run(billed, "UPDATE instances SET seen_at = seen_at + make_interval(secs => :step)", step=STEP_SECONDS)
    show(billed, registration())
    assert run(billed, "SELECT name FROM instances WHERE seen_at > clock_timestamp()") == []


def aborted_alarms(database: Database) -> list[str]:
    now = SystemClock().wall()
    with database.transaction() as connection:
        groups = read_state(connection, StateSettings(), "test", now, state_codes=list(CATALOGUE)).groups
    return [group.code for group in groups if group.code == Code.INVOICE_ABORTED]


def test_item_9_an_acknowledgement_of_aborted_invoices_counts(billed: Database) -> None:
    (offer, *_) = claim_offers(billed, 1)
    with billed.transaction() as connection:
        change = Change(
            invoice_id=offer.invoice_id, claim=offer.claim, reason="aborted", to_state="aborted", abort_reason="no"
        )
        assert apply_changes(connection, BY.name, uuid.uuid4(), [change])
    set_clock_back(billed)
    assert aborted_alarms(billed)
    show(billed, registration())
    at = SystemClock().wall()
    record = AlarmRecord("1", Code.INVOICE_ABORTED.value, "2026-08", Severity.MAJOR, "aborted", 1, at, at, "test")
    with billed.transaction() as connection:
        store(connection, record)
    with billed.transaction() as connection:
        assert acknowledge(connection, "1", "me", "seen")
    assert aborted_alarms(billed) == []


@pytest.mark.parametrize(
    ("made", "column"),
    [
        (
            "INSERT INTO period_closings VALUES ('2026-08', now() + interval '10 years', NULL, 1, 0, 1, 1, 2)",
            "period_closings.closed_at",
        ),
        (
            """INSERT INTO alarms (id, code, key, severity, summary, raised_at, last_at, instance)
               VALUES ('1', 'erp_error', 'gone', 'major', 'x', now(), now() + interval '10 years', 'gone')""",
            "alarms.last_at",
        ),
    ],
)
def test_item_9_what_has_happened_happened_now_at_the_latest(billed: Database, made: str, column: str) -> None:
    run(billed, made)
    show(billed, registration())
    assert run(billed, f"SELECT 1 FROM {column.partition('.')[0]} WHERE {column} > clock_timestamp()") == []
