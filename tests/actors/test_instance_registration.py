"""What the db_writer makes of its daemon's standing in the database, and of what it may have missed."""

import dataclasses
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, text

from actors import instance_registration
from actors.messages import ALARMS, BILLER, DB_WRITER, ERP_GATEWAY, Poll
from actors.writer import DbWriter
from alarming.catalogue import Code
from alarming.conditions import ConditionActive, ConditionCleared
from persistence import instances
from persistence.connection.database import Database
from persistence.connection.statements import notify
from persistence.invoices import delivery_pause
from testkit.waiting import wait_until
from tests.support.actor_context import SkippingClock, make_context
from tests.support.invoice_rows import add_invoices, add_users
from tests.support.supervision import ActorHarness


@pytest.fixture
def writer(database_url: str) -> Iterator[ActorHarness]:
    """A db_writer that has made its first look."""
    harness = ActorHarness(DB_WRITER, lambda: DbWriter(make_context(database_url)))
    harness.actor.on_start()
    harness.told.clear()
    yield harness
    harness.actor.on_stop()


def end_its_session(database: Database) -> None:
    with database.transaction() as connection:
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        connection.execute(text(f"SELECT pg_terminate_backend(pid) {others}"))

    def alone() -> bool:
        with database.transaction() as connection:
            return not connection.execute(text(f"SELECT count(*) {others}")).scalar_one()

    wait_until(alone)


def test_item_14_what_was_notified_while_the_listener_was_away_is_found(
    writer: ActorHarness, database: Database
) -> None:
    writer.actor.on_receive(Poll())
    assert writer.told == [], "nothing was said and nothing missed"
    end_its_session(database)
    with database.transaction() as connection:
        notify(connection, "due")
    writer.actor.on_receive(Poll())
    assert (BILLER, Poll(newly_due=True)) in writer.told
    assert (ERP_GATEWAY, Poll()) in writer.told
    writer.told.clear()
    writer.actor.on_receive(Poll())
    assert writer.told == []


def test_a_session_that_ends_while_it_is_asked_who_it_is_has_taken_no_name(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = dataclasses.replace(make_context(database_url), proved_alone=False)
    harness = ActorHarness(DB_WRITER, lambda: DbWriter(context))
    harness.actor.on_start()
    with Database(database.settings) as other:

        def tried(connection: Connection, name: str) -> bool:
            if got := instances.try_instance_lock(connection, name):
                return got
            other.close()
            wait_until(lambda: instances.instance_lock_holder(connection, name) is None)
            return False

        end_its_session(database)
        with other.transaction() as connection:
            assert instances.try_instance_lock(connection, "here")
        monkeypatch.setattr(instance_registration, "try_instance_lock", tried)
        harness.actor._registration.doubt()  # type: ignore[attr-defined]
        harness.actor.on_receive(Poll())
        harness.actor.on_receive(Poll())
    raised = {sign.code for name, sign in harness.told if name == ALARMS and isinstance(sign, ConditionActive)}
    assert raised == set()
    harness.actor.on_stop()


@pytest.mark.parametrize("waits_for", ["approval", "the end of a pause"])
def test_item_14_what_waits_for_a_person_keeps_no_alarm_of_a_downtime(
    database: Database, database_url: str, waits_for: str
) -> None:
    with database.transaction() as connection:
        add_users(connection, 1)
        add_invoices(connection, "calculated", range(1, 2))
        instances.register(connection, "here", uuid.uuid4(), "test")
        if waits_for == "the end of a pause":
            delivery_pause.pause(connection, "cli:me", "maintenance", 3600)
    given = {"billing": {"approval": "required"}} if waits_for == "approval" else {}
    clock = SkippingClock()
    harness = ActorHarness(DB_WRITER, lambda: DbWriter(make_context(database_url, clock, **given)))
    harness.actor.on_start()
    assert isinstance(told_of_downtime(harness), ConditionActive)
    clock.skipped_seconds += 10
    harness.actor.on_receive(Poll())
    assert isinstance(told_of_downtime(harness), ConditionCleared)
    harness.actor.on_stop()


def told_of_downtime(harness: ActorHarness) -> ConditionActive | ConditionCleared:
    """The last word about it."""
    signs = [sign for name, sign in harness.told if name == ALARMS]
    return [
        sign
        for sign in signs
        if isinstance(sign, ConditionActive | ConditionCleared) and sign.code == Code.DAEMON_WAS_DOWN
    ][-1]
