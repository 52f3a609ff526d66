"""The everyday ways of a Database: transactions, limits, COPY, NOTIFY, advisory locks."""

import contextlib
import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.engine import copy_in
from persistence.connection.errors import DatabaseFailed, RowRefused
from persistence.connection.statements import fetch_dicts, fetch_value, notify
from persistence.instances import try_instance_lock

COPY_METERS = "COPY meters (id, kind, phases) FROM STDIN"


@pytest.fixture
def other(database_url: str) -> Iterator[Database]:
    with Database(ConnectionSettings.from_url(database_url), listen=True) as database:
        yield database


def count_meters(database: Database) -> int:
    with database.transaction() as connection:
        return int(connection.execute(text("SELECT count(*) FROM meters")).scalar_one())


def test_a_transaction_commits_at_its_end(database: Database, other: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("INSERT INTO meters VALUES ('m', 'abb_b2x', '{L1}')"))
    assert count_meters(other) == 1


def test_an_exception_of_the_caller_rolls_back_and_comes_out_as_it_is(database: Database) -> None:
    def write() -> None:
        with database.transaction() as connection:
            connection.execute(text("INSERT INTO meters VALUES ('m', 'abb_b2x', '{L1}')"))
            raise OSError("disk of the caller")

    with pytest.raises(OSError, match="disk of the caller"):
        write()
    assert count_meters(database) == 0


def test_sessions_are_in_utc_and_read_committed(database: Database) -> None:
    with database.transaction() as connection:
        now: datetime = connection.execute(text("SELECT now()")).scalar_one()
        isolation = connection.execute(text("SHOW transaction_isolation")).scalar_one()
    assert now.utcoffset() == timedelta(0)
    assert abs(now - datetime.fromtimestamp(0, UTC)) > timedelta(days=365)
    assert isolation == "read committed"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-10-25 01:59:59+02", datetime(2026, 10, 24, 23, 59, 59, tzinfo=UTC)),
        ("2026-01-01 00:00:00.12+00", datetime(2026, 1, 1, 0, 0, 0, 120_000, tzinfo=UTC)),
        ("1891-10-01 00:00:00.000001+00", datetime(1891, 10, 1, 0, 0, 0, 1, tzinfo=UTC)),
        ("infinity", "infinity"),
        ("20260-01-01 00:00:00+00", "20260-01-01 00:00:00+00"),
    ],
)
def test_instants_are_read_exactly(database: Database, written: str, expected: object) -> None:
    with database.transaction() as connection:
        assert fetch_value(connection, "SELECT CAST(:text AS timestamptz)", text=written) == expected


def test_a_commit_is_durable_though_the_server_is_set_otherwise(database: Database) -> None:
    with database.transaction() as connection:
        # The server says off: testkit/postgres.py.
        assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on"


def test_reading_is_as_of_one_moment_and_leaves_the_session_in_order(database: Database, other: Database) -> None:
    with database.reading() as reader:
        found = fetch_dicts(reader, "SELECT count(*) AS number, :a AS a, ':b' AS b FROM meters", a="x")
        assert found == [{"number": 0, "a": "x", "b": ":b"}]
        with other.transaction() as connection:
            connection.execute(text("INSERT INTO meters VALUES ('m', 'abb_b2x', '{L1}')"))
        assert fetch_value(reader, "SELECT id FROM meters") is None
    with database.reading() as reader:
        assert fetch_value(reader, "SELECT id FROM meters WHERE id = :id OR id = upper(:id)", id="m") == "m"
    assert count_meters(database) == 1


def test_reading_writes_nothing(database: Database) -> None:
    with pytest.raises(DatabaseFailed, match="read-only"), database.reading() as reader:
        fetch_dicts(reader, "INSERT INTO meters VALUES ('m', 'abb_b2x', '{L1}')")
    assert count_meters(database) == 0


def test_a_transaction_within_a_transaction_is_a_mistake(database: Database) -> None:
    with database.transaction(), pytest.raises(RuntimeError), database.transaction():
        pass


def test_a_row_that_breaks_a_constraint_is_refused_by_name(database: Database) -> None:
    with pytest.raises(RowRefused) as refused, database.transaction() as connection:
        connection.execute(text("INSERT INTO meters VALUES ('m', 'no such', '{}')"))
    assert refused.value.constraint == "meters_kind_check"
    assert refused.value.sqlstate == "23514"
    assert "\n" not in str(refused.value)


def test_the_connection_goes_on_after_a_refused_row(database: Database) -> None:
    with database.transaction() as connection:
        before = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with pytest.raises(RowRefused), database.transaction() as connection:
        connection.execute(text("INSERT INTO meters VALUES (NULL, 'abb_b2x', '{}')"))
    with database.transaction() as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() == before


def test_a_statement_ends_at_its_limit(database_url: str) -> None:
    settings = replace(ConnectionSettings.from_url(database_url), statement_timeout_seconds=0.2)
    with Database(settings) as database:
        with pytest.raises(DatabaseFailed) as failed, database.transaction() as connection:
            connection.execute(text("SELECT pg_sleep(30)"))
        assert failed.value.sqlstate == "57014"


def test_a_deadline_bounds_all_the_statements_of_a_transaction_together(database: Database) -> None:
    sleep_often = text("SELECT pg_sleep(0.3)")
    with pytest.raises(DatabaseFailed) as failed, database.transaction(deadline_seconds=1) as connection:
        list(map(connection.execute, [sleep_often] * 100))
    assert failed.value.sqlstate == "57014"


def test_item_6_a_deadline_holds_at_the_server_in_the_first_transaction_of_a_connection(database: Database) -> None:
    with Database(database.settings) as fresh, fresh.transaction(deadline_seconds=3) as connection:
        (timeout,) = connection.execute(text("SELECT current_setting('statement_timeout')")).scalars()
    assert timeout == "3s" or timeout.endswith("ms"), "not that of the whole session"


def test_nothing_is_committed_past_the_deadline(database: Database) -> None:
    def write() -> None:
        with database.transaction(deadline_seconds=0.2) as connection:
            connection.execute(text("INSERT INTO meters VALUES ('m', 'abb_b2x', '{L1}')"))
            threading.Event().wait(0.3)

    with pytest.raises(DatabaseFailed) as failed:
        write()
    assert failed.value.sqlstate == "57014"
    assert count_meters(database) == 0


def test_a_deadline_is_over_with_its_transaction(database: Database) -> None:
    with database.transaction(deadline_seconds=2) as connection:
        connection.execute(text("SELECT 1"))
    with database.transaction() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "30s"


def test_a_deadline_leaves_savepoints_usable(database: Database) -> None:
    with database.transaction(deadline_seconds=10) as connection:
        with pytest.raises(DatabaseFailed), connection.begin_nested():
            connection.execute(text("SELECT * FROM nothing"))
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() != "30s"


def test_copy_takes_a_file_and_a_generator(database: Database) -> None:
    with database.transaction() as connection:
        assert copy_in(connection, COPY_METERS, io.BytesIO(b"a\tabb_b2x\t{L1}\nb\tabb_b2x\t{L1}\n")) == 2
        assert copy_in(connection, COPY_METERS, (b"c%d\tabb_b2x\t{L1}\n" % i for i in range(5000))) == 5000
    assert count_meters(database) == 5002


def test_a_source_that_fails_in_the_middle_of_a_copy_leaves_nothing_behind(database: Database) -> None:
    def broken() -> Iterator[bytes]:
        yield b"a\tabb_b2x\t{L1}\n"
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"), database.transaction() as connection:
        copy_in(connection, COPY_METERS, broken())
    assert count_meters(database) == 0


def test_a_bad_row_in_a_copy_is_refused_and_the_connection_goes_on(database: Database) -> None:
    rows = [b"m\tabb_b2x\t{L1}\n"] * 20_000
    with pytest.raises(RowRefused) as refused, database.transaction() as connection:
        copy_in(connection, COPY_METERS, rows)
    assert refused.value.constraint == "meters_pkey"
    assert count_meters(database) == 0


def test_a_nudge_wakes_who_listens_when_it_is_committed(database: Database, other: Database) -> None:
    assert other.notifications() == []
    with database.transaction() as connection:
        notify(connection, "retried")
        assert other.notifications(wait_seconds=0.05) == []
    assert other.notifications(wait_seconds=10) == ["retried"]
    assert other.notifications() == []


def test_an_instance_name_belongs_to_one_session_for_as_long_as_it_lasts(database: Database, other: Database) -> None:
    with database.transaction() as connection:
        assert try_instance_lock(connection, "one")
    with other.transaction() as connection:
        assert not try_instance_lock(connection, "one")
        assert try_instance_lock(connection, "two")
    with database.transaction() as connection:
        assert try_instance_lock(connection, "one")
    database.close()
    for _ in range(100):
        with other.transaction() as connection:
            if try_instance_lock(connection, "one"):
                return
            connection.execute(text("SELECT pg_sleep(0.05)"))
    pytest.fail("the lock outlived its session")


def test_what_runs_alone_needs_no_transaction(database: Database) -> None:
    database.run_alone("VACUUM meters")


def test_a_refused_row_within_a_savepoint_leaves_the_rest_of_the_transaction(database: Database) -> None:
    insert = text("INSERT INTO meters VALUES (:id, 'abb_b2x', '{L1}')")
    with database.transaction() as connection:
        connection.execute(insert, {"id": "a"})
        with pytest.raises(RowRefused), connection.begin_nested():
            connection.execute(insert, {"id": "a"})
        connection.execute(insert, {"id": "b"})
    assert count_meters(database) == 2


def test_a_value_that_its_column_can_not_hold_is_a_refused_row(database: Database) -> None:
    with pytest.raises(RowRefused) as refused, database.transaction() as connection:
        connection.execute(text("SELECT CAST(:n AS numeric(4,2))"), {"n": "1000"})
    assert refused.value.sqlstate == "22003"


def test_a_swallowed_error_turns_the_commit_into_a_failure(database: Database) -> None:
    def write() -> None:
        with database.transaction() as connection, contextlib.suppress(DatabaseFailed):
            connection.execute(text("SELECT 1 / 0"))

    with pytest.raises(DatabaseFailed) as failed:
        write()
    assert failed.value.sqlstate == "25P02"
    assert count_meters(database) == 0
