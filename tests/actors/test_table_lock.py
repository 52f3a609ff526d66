"""A lock on the whole table is trouble with the database: no invoice's, no hang, and nothing goes row by row."""

import threading
import time
from pathlib import Path

from sqlalchemy import text

from actors.messages import MakeDue, WriteCalculations
from persistence.connection.database import Database
from persistence.invoices.changes import Change
from persistence.master_data import import_master
from tests.support.small_load import write_load
from tests.support.writer_alone import WriterAlone, context_on, rows

USERS = 200
LOCKED_SECONDS = 8.0
# Of each message: the lock timeout (1 s), and what a busy machine adds. The hang deadline is far above.
MESSAGE_SECONDS = 5.0


def seen_at(database: Database) -> object:
    with database.transaction() as connection:
        return connection.execute(text("SELECT seen_at FROM instances")).scalar_one()


def test_item_12_a_lock_on_the_table_declares_no_hang_and_everything_is_stored_after_it(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    master, _ = write_load(tmp_path, users=USERS, first="2026-08", months=1)
    with database.transaction() as connection:
        import_master(connection, master)
    writer = WriterAlone(context_on(database_url))
    try:
        writer.tell(MakeDue())
        writer.tell(type(writer.claim_due())(USERS, 1))
        writes = [
            WriteCalculations((), [Change(invoice_id=each, claim=claim, reason="test", held_code="readings_incomplete",
                          held_reason="test", delay_seconds=600.0)])
            for each, claim in rows(database, "claim").items()
        ]  # fmt: skip
        assert len(writes) == USERS
        before, longest, locked = seen_at(database), 0.0, time.monotonic()
        with Database(database.settings) as other, other.transaction() as connection:
            connection.execute(text("LOCK TABLE invoices"))
            writer.queue(*writes)
            while time.monotonic() - locked < LOCKED_SECONDS:
                began = time.monotonic()
                writer.let_time_pass()
                longest = max(longest, time.monotonic() - began)
                threading.Event().wait(0.05)
            assert longest < MESSAGE_SECONDS
            assert seen_at(database) > before, "signs of life go on"  # type: ignore[operator]
            assert writer.troubled().keys() == {"db_writer"}, "one alarm, and no invoice's"
            connection.rollback()
        writer.until(lambda: set(rows(database, "held_code").values()) == {"readings_incomplete"})
        writer.until(lambda: not writer.troubled())
        assert set(rows(database, "crash_count").values()) == {0}
    finally:
        writer.close()
