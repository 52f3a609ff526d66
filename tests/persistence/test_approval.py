"""What is shown before invoices are approved, and what of them is let go."""

from decimal import Decimal

import pytest
from sqlalchemy import text

from persistence.connection.database import Database
from persistence.invoices import approval, claims
from persistence.invoices.claims import Claimer
from tests.support.invoice_rows import add_invoices, add_users
from tests.support.superuser import superuser

APPROVED_ONLY = Claimer("here#1", 60.0, approved_only=True)


@pytest.fixture
def waiting(database: Database) -> Database:
    """Three users that were billed 125 EUR a month; one of October's invoices is 1000 EUR, one 50."""
    with database.transaction() as connection:
        add_users(connection, 3)
        for month in ("2026-07", "2026-08", "2026-09"):
            add_invoices(connection, "registered", range(1, 4), period=month)
        add_invoices(connection, "calculated", range(1, 4), period="2026-10")
    with superuser(database) as owner, owner.transaction() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for number, total in ((2, 1000), (3, 50)):
            connection.execute(
                text("""UPDATE invoices SET total_with_tax_eur = :total, total_eur = :total, tax_eur = 0
                        WHERE id = :id"""),
                {"id": f"NU-000{number}.2026-10.1", "total": total},
            )
        connection.execute(
            text("""INSERT INTO invoice_documents (invoice_id, lines, calculations, snapshot, body, hash)
                    SELECT id, '[{"ordinal": "1.1.", "name": "x", "price_eur": "7.00"}]', '[]', '{}', '', ''
                    FROM invoices WHERE state = 'calculated'""")
        )
    return database


def test_the_preview_sums_up_and_names_the_unusual_ones(waiting: Database) -> None:
    with waiting.transaction() as connection:
        seen = approval.preview(connection, "2026-10", None)
    assert (len(seen.ids), seen.total_with_tax_eur) == (3, Decimal(1175))
    assert [(line.ordinal, line.price_eur) for line in seen.lines] == [("1.1.", 21)]
    firsts = {name: (rows[0].id, rows[0].usual_eur) for name, rows in seen.extremes.items()}
    assert firsts == {
        "largest": ("NU-0002.2026-10.1", 125),
        "smallest": ("NU-0003.2026-10.1", 125),
        "furthest": ("NU-0002.2026-10.1", 125),
    }
    assert [row.id[:7] for row in seen.extremes["furthest"]] == ["NU-0002", "NU-0003", "NU-0001"]


def test_only_what_is_approved_is_offered_and_only_where_that_is_asked_for(waiting: Database) -> None:
    with waiting.transaction() as connection:
        assert claims.claim_deliveries(connection, APPROVED_ONLY, claims.Wanted(9)) == []
        assert claims.claim_deliveries(connection, APPROVED_ONLY, claims.Wanted(1), "probe") == []
        assert not claims.several_open(connection, approved_only=True)
        assert claims.several_open(connection)
        approved = approval.approve(connection, "cli:me", "seen", ["NU-0003.2026-10.1", "NU-0001.2026-09.1"])
        assert approved == ["NU-0003.2026-10.1"]
    with waiting.transaction() as connection:
        offers = claims.claim_deliveries(connection, APPROVED_ONLY, claims.Wanted(9))
        assert [each.invoice_id for each in offers] == ["NU-0003.2026-10.1"]
    with waiting.transaction() as connection:
        assert len(claims.claim_deliveries(connection, Claimer("there#1", 60.0), claims.Wanted(9))) == 2
        assert approval.preview(connection, "2026-10", None).ids == [], "the others are sent"
        october = [f"NU-000{number}.2026-10.1" for number in (1, 2, 3)]
        assert approval.approve(connection, "cli:me", "late", october) == []
