"""The daemon's own row, locked by a person's transaction: no sign of life is stored meanwhile, and billing goes on."""

import pytest
from sqlalchemy import text

from actors import instance_registration
from actors.messages import MakeDue
from persistence.connection.database import Database
from tests.support.writer_alone import WriterAlone, context_on, import_three_users


def test_a_lock_on_its_own_row_keeps_a_daemon_from_nothing_else(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance_registration, "SIGN_OF_LIFE_SECONDS", 0.0)
    import_three_users(database)
    writer = WriterAlone(context_on(database_url))
    try:
        with Database(database.settings) as other, other.transaction() as connection:
            connection.execute(text("SELECT FROM instances FOR UPDATE"))
            writer.let_time_pass()
            writer.tell(MakeDue())
            writer.until(lambda: len(writer.claimed()) == 3, writer.claim_due)
            assert writer.troubled().keys() == {"sign of life"}
            connection.rollback()
        writer.until(lambda: not writer.troubled())
    finally:
        writer.close()
