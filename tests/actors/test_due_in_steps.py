"""However many invoices become due at once, no transaction makes more than a few of them."""

import pytest
from sqlalchemy import text

from actors import scheduling
from actors.messages import BILLER, MakeDue, Poll
from persistence.connection.database import Database
from tests.support.writer_alone import WriterAlone, context_on, import_three_users


def test_each_transaction_makes_a_few(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "DUE_AT_ONCE", 2, raising=False)
    import_three_users(database)
    alone = WriterAlone(context_on(database_url))
    try:
        alone.until(lambda: Poll() in alone.told(BILLER), MakeDue)
        with database.transaction() as connection:
            made = connection.execute(text("SELECT count(*) FROM invoices GROUP BY CAST(xmin AS text)")).scalars().all()
        assert sorted(made) == [1, 2]
    finally:
        alone.close()
