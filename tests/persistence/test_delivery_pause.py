"""Pauses of delivery: of two that are ordered at once, the later one stands."""

from dataclasses import replace

from sqlalchemy import Connection, text

from persistence.connection.database import ConnectionSettings, Database
from persistence.invoices.delivery_pause import pause
from persistence.invoices.overview import Pause
from tests.support.two_sessions import Session, until_it_waits


def test_two_pauses_at_once_are_one_after_the_other(database: Database, database_url: str) -> None:
    settings = replace(ConnectionSettings.from_url(database_url), lock_timeout_seconds=20)

    def order(connection: Connection) -> Pause:
        return pause(connection, "cli:second", "later", 60)

    with Database(settings) as observer, database.transaction() as connection:
        pause(connection, "cli:first", "earlier", 3600)
        second = Session(settings, order, "second")
        until_it_waits(observer, "second")
    assert second.result().reason == "later"
    with database.transaction() as connection:
        rows = connection.execute(text("SELECT reason, resumed_by FROM delivery_pauses ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [("earlier", "cli:second"), ("later", None)]
