"""A biller whose work went elsewhere after the database had failed it: its alarm does not stand till it has more."""

from typing import Any

import pytest

from actors import biller
from actors.biller import Biller
from actors.messages import ALARMS, BILLER, DB_WRITER, ClaimDue, ClaimedDue, Overdue
from alarming.conditions import ConditionActive, ConditionCleared
from persistence.connection.database import Database
from persistence.connection.errors import DatabaseUnreachable
from persistence.invoices.claims import Claimed
from tests.support.actor_context import make_context
from tests.support.supervision import ActorHarness


def test_an_alarm_ends_with_the_next_answer_of_the_database_though_nothing_is_due(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del database  # it only has to be there
    harness = ActorHarness(BILLER, lambda: Biller(make_context(database_url)))
    actor = harness.actor

    def answer(*batch: Claimed) -> list[Any]:
        """What the alarms are told of an answer to its last ask."""
        asks = [message for name, message in harness.told if name == DB_WRITER and isinstance(message, ClaimDue)]
        harness.told.clear()
        actor.on_receive(ClaimedDue(batch, asks[-1].ask))
        return [message for name, message in harness.told if name == ALARMS]

    def away(*_: object) -> None:
        raise DatabaseUnreachable("the session was ended")

    actor.on_start()
    assert answer() == []
    actor.on_receive(Overdue())
    with monkeypatch.context() as patched:
        patched.setattr(biller, "fetch_inputs", away)
        patched.setattr(Database, "run", away)
        (raised,) = answer(Claimed("user-001.2026-08.1", 1))
        assert isinstance(raised, ConditionActive)
        actor.on_receive(Overdue())
        (again,) = answer()
        assert isinstance(again, ConditionActive), "it has asked, and got no answer"
    actor.on_receive(Overdue())
    assert [each for each in answer() if each.code == "database_unreachable"] == [
        ConditionCleared("database_unreachable", subject=BILLER)
    ]
    actor.on_stop()
