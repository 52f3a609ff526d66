"""However many invoices become due at once, no transaction makes or looks at more than a few of them."""

from collections.abc import Collection, Sequence
from typing import Any

import pytest
from sqlalchemy import text

from actors.messages import BILLER, MakeDue, Poll
from persistence.connection.database import Database
from persistence.invoices import due_invoices
from tests.support.writer_alone import WriterAlone, context_on, import_three_users

REFUSED = "user-008.2026-08.1"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due_invoices, "MADE_AT_ONCE", 2)


def by_transaction(database: Database) -> list[int]:
    """How many invoices each transaction has made."""
    with database.transaction() as connection:
        made = connection.execute(text("SELECT count(*) FROM invoices GROUP BY CAST(xmin AS text)")).scalars().all()
    return sorted(made)


@pytest.mark.usefixtures("few")
def test_each_transaction_makes_a_few(database: Database, database_url: str) -> None:
    import_three_users(database)
    alone = WriterAlone(context_on(database_url))
    try:
        alone.until(lambda: Poll() in alone.told(BILLER), MakeDue)
        assert by_transaction(database) == [1, 2]
    finally:
        alone.close()


@pytest.mark.usefixtures("few")
def test_a_refused_row_is_looked_for_among_a_few(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_three_users(database)
    with database.transaction() as connection:
        connection.execute(text(f"ALTER TABLE invoices ADD CHECK (id <> '{REFUSED}')"))
    missing, found = due_invoices.missing, list[int]()

    def counted(*arguments: Any, **named: Any) -> Sequence[str]:
        ids: Collection[str] = missing(*arguments, **named)
        found.append(len(ids))
        return list(ids)

    monkeypatch.setattr(due_invoices, "missing", counted)
    alone = WriterAlone(context_on(database_url))
    try:
        alone.tell(MakeDue())
        assert by_transaction(database) == [1, 1]
        assert found == [2]
    finally:
        alone.close()
