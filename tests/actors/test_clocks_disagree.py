"""This machine's clock and the database's, more than an hour apart: nothing is made due until they agree."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from actors.bookkeeper import Bookkeeper
from actors.context import ActorContext
from actors.messages import BILLER, MakeDue, Poll
from persistence.connection.database import Database
from supervision.clock import SystemClock
from tests.support.billed_months import calculate_august
from tests.support.supervision import ActorHarness
from tests.support.writer_alone import WriterAlone, context_on, import_three_users

YEARS = 10 * 365 * 86_400.0


class MovedClock(SystemClock):
    """The system's, with a calendar that is wrong."""

    wrong_by_seconds = 0.0

    def wall(self) -> datetime:
        return super().wall() + timedelta(seconds=self.wrong_by_seconds)


def states(database: Database) -> list[str]:
    with database.transaction() as connection:
        return [row.state for row in connection.execute(text("SELECT state FROM invoices"))]


def context_with(database_url: str, clock: MovedClock) -> ActorContext:
    return replace(context_on(database_url), clock=clock)


@pytest.mark.parametrize("seconds", [YEARS, -YEARS, 3700.0, -3700.0])
def test_nothing_is_made_due_until_the_clocks_agree(database: Database, database_url: str, seconds: float) -> None:
    import_three_users(database)
    clock = MovedClock()
    clock.wrong_by_seconds = seconds
    alone = WriterAlone(context_with(database_url, clock))
    try:
        alone.until(lambda: alone.troubled("clocks_disagree"), MakeDue)
        (summary,) = alone.troubled("clocks_disagree").values()
        assert ("behind" if seconds > 0 else "ahead of") in summary
        alone.tell(MakeDue())
        assert states(database) == []
        clock.wrong_by_seconds = 3500.0 if seconds > 0 else -3500.0
        alone.until(lambda: Poll(newly_due=True) in alone.told(BILLER))  # the biller asks what is due now
        alone.until(lambda: states(database) == ["due"] * 3, MakeDue)
        assert alone.troubled("clocks_disagree") == {}
    finally:
        alone.close()


def test_no_root_is_made_until_they_agree(database: Database, database_url: str) -> None:
    calculate_august(database)
    clock = MovedClock()
    clock.wrong_by_seconds = YEARS
    books = ActorHarness("bookkeeper", lambda: Bookkeeper(context_with(database_url, clock)))
    actor = books.actor
    assert isinstance(actor, Bookkeeper)
    actor.on_start()
    try:
        for wrong_by_seconds, roots in ((YEARS, 0), (0.0, 1)):
            clock.wrong_by_seconds = wrong_by_seconds
            actor._root_due_seconds = float("-inf")
            actor._make_root()
            with database.transaction() as connection:
                found = connection.execute(text("SELECT day FROM audit_roots")).all()
            assert len(found) == roots
        assert found[0].day == SystemClock().wall().date()
    finally:
        actor.on_stop()
