"""COMMIT waits for a synchronous standby that is gone: it is said so, and no session is left waiting at the server."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import text

from actors.messages import ALARMS, DB_WRITER, Poll
from actors.writer import DbWriter, _Retry
from alarming.catalogue import Code
from alarming.conditions import ConditionActive, ConditionCleared
from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.errors import CommitHangs, CommitUnknown
from testkit.postgres import PostgresServer
from testkit.waiting import wait_until
from tests.support.supervision import ActorHarness
from tests.support.writer_alone import context_on

LIMITS = {"database": {"statement_timeout_seconds": 1, "lock_timeout_seconds": 1}}
WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


def set_standbys(server: PostgresServer, names: str) -> None:
    server.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'", "SELECT pg_reload_conf()")
    shown = "SELECT 1 FROM pg_settings WHERE name = 'synchronous_standby_names' AND setting = :names"
    wait_until(lambda: server.rows(shown, names=names), what="the server has read it")


@pytest.fixture
def without_standby(server: PostgresServer) -> Iterator[PostgresServer]:
    """It waits for a standby that isn't there."""
    server.execute("CREATE TABLE some_rows (number int)")
    set_standbys(server, "*")
    yield server
    set_standbys(server, "")


def settings(server: PostgresServer) -> ConnectionSettings:
    return replace(server.settings(), statement_timeout_seconds=1.0, connect_timeout_seconds=1.0)


def test_it_is_told_from_a_server_that_is_gone_and_leaves_no_session_behind(without_standby: PostgresServer) -> None:
    with Database(settings(without_standby)) as database:
        for number in (1, 2):
            with (
                pytest.raises(CommitHangs, match="is a synchronous standby gone"),
                database.transaction() as connection,
            ):
                connection.execute(text("INSERT INTO some_rows VALUES (:number)"), {"number": number})
    wait_until(lambda: not without_standby.rows(WAITING), what="nobody waits at the server")
    assert len(without_standby.rows("SELECT number FROM some_rows")) == 2, "it has happened, as CommitUnknown says"


def test_a_frozen_server_takes_no_cancel_and_is_unreachable(server: PostgresServer) -> None:
    with Database(settings(server)) as database:
        with pytest.raises(CommitUnknown) as caught:
            write_and_freeze(database, server)
        server.thaw()
    assert not isinstance(caught.value, CommitHangs)


def write_and_freeze(database: Database, server: PostgresServer) -> None:
    with database.transaction() as connection:
        connection.execute(text("CREATE TABLE some_rows (number int)"))
        server.freeze()


def test_the_writer_raises_one_true_alarm_and_keeps_its_name(without_standby: PostgresServer) -> None:
    context = replace(context_on(without_standby.url(), LIMITS), proved_alone=False)
    set_standbys(without_standby, "")
    harness = ActorHarness(DB_WRITER, lambda: DbWriter(context))
    harness.actor.on_start()
    set_standbys(without_standby, "*")
    harness.told.clear()
    harness.actor._registration.doubt()  # type: ignore[attr-defined]
    for _ in range(3):
        harness.actor.on_receive(_Retry())
        harness.actor.on_receive(Poll())
        assert len(without_standby.rows(WAITING)) <= 1
    signs = [sign for name, sign in harness.told if name == ALARMS]
    assert {sign.code for sign in signs if isinstance(sign, ConditionActive)} == {Code.DATABASE_ERROR}
    assert Code.DATABASE_ERROR not in {sign.code for sign in signs if isinstance(sign, ConditionCleared)}
    set_standbys(without_standby, "")
    harness.told.clear()
    harness.actor.on_receive(_Retry())
    harness.actor.on_receive(Poll())
    assert (ALARMS, ConditionCleared(Code.DATABASE_ERROR, subject=DB_WRITER)) in harness.told
    harness.actor.on_stop()


def test_no_part_of_the_daemon_takes_it_for_a_server_that_is_away() -> None:
    assert not CommitHangs("").away
    assert CommitUnknown("").away
