"""The alarms of invoices, as they follow from the rows of a real database."""

import time
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from alarming.alarm import Alarm, Now
from alarming.catalogue import CATALOGUE, Code
from alarming.conditions import ConditionActive, ConditionCleared
from alarming.register import Action, AlarmRegister
from persistence.alarms import (
    AlarmRecord,
    AlarmState,
    Group,
    Severity,
    StateSettings,
    acknowledge,
    read_state,
    store,
)
from persistence.connection.database import Database
from persistence.invoices.changes import Change
from persistence.invoices.corrections import take_up, waive
from tests.support.billed_months import AUGUST, calculate_august, change, claim_offers
from tests.support.invoice_rows import add_invoices, add_users, set_state

NOW = datetime(2026, 11, 15, tzinfo=UTC)
SETTINGS = StateSettings()


def looked(database: Database, now: datetime = NOW, known: tuple[str, ...] = ()) -> AlarmState:
    codes = [code for code, entry in CATALOGUE.items() if entry.by_period]
    with database.reading() as reader:
        return read_state(reader, SETTINGS, "one", now, state_codes=codes, known=known)


def shown(group: Group) -> AlarmRecord:
    """What others see of the alarm of a group."""
    alarm = Alarm(group.code, group.key, None, Now(0, NOW))
    alarm.follow(group, Now(0, NOW))
    alarm.id, alarm.raised_at = "a", NOW
    return alarm.record("one")


def found(database: Database, now: datetime = NOW, known: tuple[str, ...] = ()) -> dict[tuple[str, str], int]:
    return {(group.code, group.key): group.count for group in looked(database, now, known).groups}


def test_ten_thousand_held_invoices_are_one_alarm_that_is_found_quickly(database: Database) -> None:
    with database.transaction() as connection:
        add_users(connection, 9_999)
        add_invoices(connection, "held", range(1, 10_000), held_code="erp_refused_invoice", reason="400: no such code")
        add_invoices(connection, "registered", range(1, 10_000), period="2026-09")
    with database.transaction() as connection:
        connection.execute(text("ANALYZE invoices"))
    started = time.monotonic()
    (group,) = looked(database).groups
    assert time.monotonic() - started < 1.0
    assert (group.code, group.key, group.count) == ("erp_refused_invoice", "2026-10", 9_999)
    assert shown(group).context["invoices"] == [f"NU-{number:04}.2026-10.1" for number in range(1, 21)]
    assert "no such code" in shown(group).summary


def test_each_code_and_period_has_its_own_and_a_retry_ends_it(database: Database) -> None:
    with database.transaction() as connection:
        add_users(connection, 6)
        add_invoices(connection, "held", range(1, 3), held_code="erp_conflict", reason="409")
        add_invoices(connection, "held", range(3, 4), held_code="poison_invoice", reason="boom")
        add_invoices(connection, "held", range(1, 2), period="2026-09", held_code="erp_conflict", reason="409")
    assert found(database) == {
        ("erp_conflict", "2026-10"): 2,
        ("poison_invoice", "2026-10"): 1,
        ("erp_conflict", "2026-09"): 1,
    }
    with database.transaction() as connection:
        set_state(connection, "sent")
    assert found(database) == {("erp_conflict", "2026-09"): 1}


def test_missing_readings_are_an_alarm_past_their_grace_by_the_clock_handed_in(database: Database) -> None:
    with database.transaction() as connection:
        add_users(connection, 2)
        add_invoices(connection, "due", range(1, 2), held_code="readings_incomplete", reason="M1 lacks the end")
        add_invoices(connection, "due", range(2, 3), held_code="readings_inconsistent", reason="M2 falls")
    end_of_grace = datetime(2026, 11, 1, 23, 0, tzinfo=UTC)  # 2026-10 ends at 23:00 UTC of 31 October in Zagreb
    assert found(database, datetime(2026, 11, 1, 22, 59, 59, tzinfo=UTC)) == {}
    assert found(database, end_of_grace) == {
        ("readings_incomplete", "data"): 1,
        ("readings_inconsistent", "data"): 1,
    }


def test_readings_missing_in_243_periods_are_one_alarm_with_the_oldest_and_the_newest(database: Database) -> None:
    periods = [f"{year}-{month:02}" for year in range(2006, 2027) for month in range(1, 13)][7:250]
    with database.transaction() as connection:
        add_users(connection, 1)
        for period in periods:
            add_invoices(
                connection, "due", range(1, 2), period=period, held_code="readings_incomplete", reason="M1 has none"
            )
    (group,) = looked(database).groups
    assert (group.key, group.count, group.oldest, group.newest) == ("data", 243, "2006-08", "2026-10")
    record = shown(group)
    assert record.summary == (
        "243 invoices waiting for readings (2006-08 to 2026-10): NU-0001.2006-08.1, NU-0001.2006-09.1, "
        "NU-0001.2006-10.1, …240 more: M1 has none"
    )
    assert (record.context["oldest"], record.context["newest"]) == ("2006-08", "2026-10")


def test_what_waits_for_a_person_or_the_database_is_an_alarm_at_once(database: Database) -> None:
    with database.transaction() as connection:
        add_users(connection, 3)
        add_invoices(connection, "due", range(1, 2), held_code="energy_already_billed", reason="M1: NU-9.2026-10.1")
        add_invoices(connection, "due", range(2, 4), held_code="inputs_unreadable", reason="57014: canceled")
    during_the_grace = datetime(2026, 11, 1, tzinfo=UTC)
    assert found(database, during_the_grace) == {
        ("energy_already_billed", "data"): 1,
        ("inputs_unreadable", "2026-10"): 2,
    }
    summaries = [shown(group).summary for group in looked(database).groups]
    assert summaries == [
        "1 invoice waiting, as another one bills the same energy: NU-0001.2026-10.1: M1: NU-9.2026-10.1",
        "2 invoices waiting, as their data cannot be read: NU-0002.2026-10.1, NU-0003.2026-10.1: 57014: canceled",
    ]
    with database.transaction() as connection:
        connection.execute(text("UPDATE invoices SET held_code = NULL, held_reason = NULL"))
    assert found(database) == {}


def test_what_waits_too_long_is_overdue_unless_an_alarm_says_why(database: Database) -> None:
    long = SETTINGS.overdue_seconds + 60
    with database.transaction() as connection:
        add_users(connection, 9)
        for first, state in enumerate(("calculated", "sent", "initiated", "due"), 1):
            add_invoices(connection, state, range(first, first + 1), age_seconds=long)
        add_invoices(connection, "due", range(5, 6), held_code="readings_incomplete", reason="M", age_seconds=long)
        add_invoices(connection, "held", range(6, 7), held_code="erp_conflict", reason="409", age_seconds=long)
        add_invoices(connection, "initiated", range(7, 8), age_seconds=long - 120)
        add_invoices(connection, "registered", range(8, 9), age_seconds=long)
        add_invoices(connection, "aborted", range(9, 10), reason="superseded", ended_by="correction", age_seconds=long)
    now = datetime(2026, 11, 1, tzinfo=UTC)
    assert found(database, now) == {("invoice_overdue", "2026-10"): 4, ("erp_conflict", "2026-10"): 1}
    known = ("NU-0002.2026-10.1", "NU-0003.2026-10.1")
    assert found(database, now, known)["invoice_overdue", "2026-10"] == 2


def test_an_aborted_invoice_is_an_alarm_until_it_is_corrected_or_taken_note_of(database: Database) -> None:
    with database.transaction() as connection:
        add_users(connection, 4)
        add_invoices(connection, "aborted", range(1, 3), reason="ERP: unknown sub-project")
        add_invoices(connection, "aborted", range(3, 4), reason="waived by ana: a test", ended_by="operator")
        add_invoices(
            connection, "aborted", range(4, 5), reason="superseded by NU-0004.2026-10.2", ended_by="correction"
        )
    assert found(database) == {("invoice_aborted", "2026-10"): 2}
    with database.transaction() as connection:
        add_invoices(connection, "due", range(1, 2), revision=2)
    assert found(database) == {("invoice_aborted", "2026-10"): 1}
    alarm = AlarmRecord("A", "invoice_aborted", "2026-10", Severity.MAJOR, "1 invoice", 1, NOW, NOW, "one")
    with database.transaction() as connection:
        store(connection, alarm)
        assert acknowledge(connection, "A", "ana", "agreed by telephone")
    assert found(database) == {}
    with database.transaction() as connection:
        add_invoices(connection, "aborted", range(3, 4), period="2026-09", reason="ERP: no")
        connection.execute(
            text("UPDATE invoices SET updated_at = clock_timestamp() + interval '1 s' WHERE id = 'NU-0002.2026-10.1'")
        )
    assert found(database) == {("invoice_aborted", "2026-10"): 1, ("invoice_aborted", "2026-09"): 1}, "a new one"


@pytest.mark.parametrize("reason", ["waived by the accountant", "superseded by a paper invoice", "%"])
def test_item_4_an_abort_by_the_erp_is_an_alarm_whatever_its_reason_says(database: Database, reason: str) -> None:
    calculate_august(database)
    for offer in claim_offers(database):
        verdict = Change(
            invoice_id=offer.invoice_id, claim=offer.claim, reason="verdict", to_state="aborted", abort_reason=reason
        )
        change(database, verdict)
    assert found(database) == {("invoice_aborted", "2026-08"): 3}
    assert reason in shown(looked(database).groups[0]).summary


def test_item_4_what_an_operator_ended_is_no_alarm_whatever_was_given_as_reason(database: Database) -> None:
    calculate_august(database)
    for invoice_id in AUGUST:
        with database.transaction() as connection:
            taken = take_up(connection, "waive", invoice_id, "cli:ana", offer_seconds=0, lease_seconds=60)
            waive(connection, taken, "cli:ana", "the ERP aborted it")
    assert found(database) == {}


def test_what_stands_already_brings_its_id_and_the_gone_instances_alarms_are_taken_over(database: Database) -> None:
    records = [
        AlarmRecord("mine", "erp_unreachable", "one", Severity.MAJOR, "mine", 1, NOW, NOW, "one"),
        AlarmRecord("gone", "erp_conflict", "2026-08", Severity.MAJOR, "of one that is gone", 1, NOW, NOW, "two"),
        AlarmRecord("alive", "erp_conflict", "2026-09", Severity.MAJOR, "of one that lives", 1, NOW, NOW, "three"),
        AlarmRecord("its own", "database_error", "two", Severity.MAJOR, "about itself", 1, NOW, NOW, "two"),
    ]
    with database.transaction() as connection:
        for record in records:
            store(connection, record)
        connection.execute(
            text("""INSERT INTO instances (name, incarnation, version, seen_at) VALUES
                    ('three', gen_random_uuid(), '1', now()),
                    ('two', gen_random_uuid(), '1', now() - interval '2 minutes')""")
        )
        add_users(connection, 1)
        add_invoices(connection, "held", range(1, 2), period="2026-09", held_code="erp_conflict", reason="409")
    seen = looked(database)
    assert [(group.standing_id, group.standing_since) for group in seen.groups] == [("alive", NOW)]
    assert sorted(record.id for record in seen.standing) == ["gone", "mine"]


def test_invoices_that_need_nothing_more_are_named(database: Database) -> None:
    with database.transaction() as connection:
        add_users(connection, 3)
        add_invoices(connection, "registered", range(1, 2))
        add_invoices(connection, "held", range(2, 3), held_code="erp_conflict", reason="409")
        add_invoices(connection, "sent", range(3, 4))
    known = tuple(f"NU-000{number}.2026-10.1" for number in (1, 2, 3))
    assert sorted(looked(database, known=known).final) == list(known[:2])


def test_what_rows_ask_for_is_raised_by_a_look_that_is_newer_than_the_root_cause() -> None:
    register = AlarmRegister("one")
    register.activate(ConditionActive(Code.CLOCKS_DISAGREE, "by ten years"), Now(0, NOW))
    overdue = Group(Code.INVOICE_OVERDUE, "2026-10", 1, ("NU-1.2026-10.1",), "in initiated")
    register.follow([overdue], Now(1, NOW))
    register.clear(ConditionCleared(Code.CLOCKS_DISAGREE), Now(2, NOW))
    assert register.tick(Now(6.1, NOW)) == [], "the last look is old, and the invoice may have moved on"
    (raised,) = register.follow([overdue], Now(6.2, NOW))
    assert isinstance(raised, Action)
    assert raised.record.code == Code.INVOICE_OVERDUE
