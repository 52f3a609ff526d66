"""The table of alarms in a real database: one row a cause, whoever writes it and however often."""

import dataclasses
from datetime import timedelta

import pytest
from sqlalchemy import text

from persistence.alarms import AlarmRecord, Severity, acknowledge, find, statistics, store, sweep
from persistence.connection.database import Database
from persistence.connection.errors import PersistenceError
from supervision import SystemClock

NOW = SystemClock().wall()
AT = NOW - timedelta(hours=1)  # the statistics go by the database's clock
ALARM = AlarmRecord("a", "erp_error", "one", Severity.MAJOR, "503", 1, AT, AT, "one", context={"url": "http://erp"})


def put(database: Database, record: AlarmRecord) -> AlarmRecord:
    with database.transaction() as connection:
        return store(connection, record)


def found(database: Database, *, cleared_too: bool = False) -> list[AlarmRecord]:
    with database.reading() as reader:
        return find(reader, cleared_too=cleared_too)


def test_an_alarm_is_written_counted_up_and_cleared(database: Database) -> None:
    assert put(database, ALARM) == ALARM
    counted = dataclasses.replace(ALARM, count=500, last_at=AT + timedelta(seconds=5))
    assert put(database, counted) == counted
    assert found(database) == [counted]
    cleared = dataclasses.replace(counted, cleared_at=AT + timedelta(seconds=9))
    put(database, cleared)
    assert found(database) == []
    assert found(database, cleared_too=True) == [cleared]


def test_who_raises_what_stands_already_adopts_its_id(database: Database) -> None:
    put(database, ALARM)
    second = dataclasses.replace(ALARM, id="b", raised_at=AT + timedelta(seconds=60), count=7)
    stored = put(database, second)
    assert (stored.id, stored.raised_at) == ("a", AT)
    assert [(record.id, record.count) for record in found(database, cleared_too=True)] == [("a", 7)]


def test_clearing_under_an_id_that_never_got_there_clears_what_stands(database: Database) -> None:
    put(database, ALARM)
    put(database, dataclasses.replace(ALARM, id="b", cleared_at=AT))
    assert found(database) == []


def test_what_comes_back_is_the_same_row_and_has_to_be_acknowledged_anew(database: Database) -> None:
    put(database, ALARM)
    with database.transaction() as connection:
        assert acknowledge(connection, "a", "ana", "on it")
        assert acknowledge(connection, "a", "ivo", "me too"), "the first one counts"
        assert not acknowledge(connection, "no such", "ana", "")
    acked = put(database, ALARM)
    assert acked.acked_at is not None
    cleared = put(database, dataclasses.replace(ALARM, cleared_at=AT))
    assert cleared.acked_at == acked.acked_at
    assert put(database, dataclasses.replace(ALARM, reopened=1)).acked_at is None
    with database.transaction() as connection:
        assert connection.execute(text("SELECT acked_by, cleared_at FROM alarms")).one() == (None, None)


def test_a_text_that_no_column_can_hold_is_made_to_fit(database: Database) -> None:
    odd = dataclasses.replace(ALARM, summary="a\0b", context={"\0": "x\0y"})
    put(database, odd)
    (record,) = found(database)
    assert (record.summary, record.context) == ("ab", {"": "xy"})


def test_the_most_urgent_come_first(database: Database) -> None:
    for number, severity in enumerate((Severity.MINOR, Severity.CRITICAL, Severity.WARNING, Severity.MAJOR)):
        put(database, dataclasses.replace(ALARM, id=str(number), key=str(number), severity=severity))
    assert [record.severity.value for record in found(database)] == ["critical", "major", "minor", "warning"]


def test_statistics_say_how_often_and_how_long(database: Database) -> None:
    put(database, dataclasses.replace(ALARM, cleared_at=AT + timedelta(seconds=60), context={"reopened": 2}))
    put(database, dataclasses.replace(ALARM, id="b", key="two", cleared_at=AT + timedelta(seconds=30)))
    put(database, dataclasses.replace(ALARM, id="c", code="erp_conflict", key="2026-10"))
    put(database, dataclasses.replace(ALARM, id="d", key="old", cleared_at=AT - timedelta(days=40)))
    with database.reading() as reader:
        first, second = statistics(reader)
    assert (first.code, first.alarms, first.reopened, first.standing) == ("erp_error", 2, 2, 0)
    assert (first.standing_seconds, first.longest_seconds) == (90.0, 60.0)
    assert (second.code, second.standing) == ("erp_conflict", 1)


def test_what_an_instance_that_is_gone_for_a_day_said_of_itself_is_cleared(database: Database) -> None:
    old = NOW - timedelta(days=2)
    gone = dataclasses.replace(ALARM, raised_at=old, last_at=old)
    put(database, dataclasses.replace(gone, id="gone", key="two", instance="two"))
    put(database, dataclasses.replace(gone, id="alive", key="three", instance="three"))
    put(database, dataclasses.replace(gone, id="mine"))
    put(database, dataclasses.replace(gone, id="of invoices", key="2026-10", instance="two"))
    put(database, dataclasses.replace(ALARM, id="not yet", key="four", instance="four"))
    with database.transaction() as connection:
        connection.execute(
            text("""INSERT INTO instances (name, incarnation, version, seen_at) VALUES
                    ('three', gen_random_uuid(), '1', now()),
                    ('two', gen_random_uuid(), '1', now() - interval '25 hours')""")
        )
        assert sweep(connection, "one") == 1
    assert sorted(record.id for record in found(database)) == ["alive", "mine", "not yet", "of invoices"]


def test_the_database_itself_refuses_a_second_standing_row(database: Database) -> None:
    put(database, ALARM)
    with pytest.raises(PersistenceError), database.transaction() as connection:
        connection.execute(
            text("""INSERT INTO alarms (id, code, key, severity, summary, raised_at, last_at, instance)
                    VALUES ('b', 'erp_error', 'one', 'major', '', now(), now(), 'one')""")
        )
