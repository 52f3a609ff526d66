"""An alarm whose row somebody has locked: the others reach the table, and the invoices' own alarms are raised."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from alarming.alarm import Now
from alarming.background import AlarmWriter
from alarming.dispatcher import AlarmDispatcher
from alarming.spool import Spool
from persistence.alarms import AlarmRecord, Severity, StateSettings, find, store
from persistence.connection.database import ConnectionSettings, Database
from supervision import SystemClock
from tests.support.invoice_rows import add_invoices, add_users

NOW = datetime(2026, 11, 15, tzinfo=UTC)
AT = SystemClock().wall() - timedelta(hours=1)
LOCKED = AlarmRecord("a", "actor_hung", "one", Severity.MAJOR, "biller hung", 1, AT, AT, "one")


def test_one_alarm_that_somebody_has_locked_keeps_no_other_from_table_and_people(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    with database.transaction() as connection:
        store(connection, LOCKED)
        add_users(connection, 1)
        add_invoices(connection, "held", range(1, 2), held_code="erp_refused_invoice", reason="400: no such code")
    seconds = 0.0
    dispatcher = AlarmDispatcher("one", Spool(tmp_path / "spool"), lambda: Now(seconds, NOW))
    writers = Database(ConnectionSettings.from_url(database_url, lock_timeout_seconds=0.2))
    writer = AlarmWriter(writers, "one", StateSettings(), lambda: NOW)
    alarms = [dataclasses.replace(LOCKED, count=2)]
    alarms += [dataclasses.replace(LOCKED, id=each, key=each, instance=each) for each in ("b", "c")]

    def look() -> set[str]:
        writer.offer(alarms, [], at_once=False)
        writer.work()
        for result in writer.take():
            dispatcher.take_result(result)
        dispatcher.tick()
        return {record.code for record in dispatcher.register.standing()}

    def stored() -> dict[str, int]:
        with Database(ConnectionSettings.from_url(database_url)) as other, other.reading() as reader:
            return {record.id: record.count for record in find(reader)}

    with database.transaction() as connection:
        connection.execute(text("SELECT FROM alarms WHERE id = 'a' FOR UPDATE"))
        for _ in range(4):
            standing = look()
            seconds += 2.0
        assert standing >= {"erp_refused_invoice", "database_error"}
        assert stored() == {"a": 1, "b": 1, "c": 1}
    assert "database_error" not in look()
    assert stored()["a"] == 2
    writer.close()
