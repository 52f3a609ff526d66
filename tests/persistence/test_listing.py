"""What the control room reads: the last day out of the history, hour by hour."""

from sqlalchemy import Connection, text

from persistence.connection.database import Database
from persistence.invoices.listing import browse, last_hours
from tests.support.invoice_rows import add_invoices, add_users

HOUR = 3600.0


def passes(connection: Connection, invoice_id: str, seq: int, step: tuple[str | None, str], hours_ago: int) -> None:
    """A step that the invoice took in the middle of an hour of the clock."""
    connection.execute(
        text("""INSERT INTO invoice_history (invoice_id, seq, at, from_state, to_state, actor, reason, write_id)
                VALUES (:id, :seq, date_trunc('hour', now()) - make_interval(hours => :ago, mins => -30), :was, :is,
                    'test', 'test', gen_random_uuid())"""),
        {"id": invoice_id, "seq": seq, "ago": hours_ago, "was": step[0], "is": step[1]},
    )


def made(connection: Connection, invoice_id: str, hours_ago: int) -> None:
    connection.execute(
        text("""UPDATE invoices SET created_at = date_trunc('hour', now()) - make_interval(hours => :ago)
                WHERE id = :id"""),
        {"id": invoice_id, "ago": hours_ago},
    )


def test_each_hour_has_what_happened_in_it_and_the_age_of_the_oldest_at_its_end(database: Database) -> None:
    registered, held, late = (f"NU-000{number}.2026-10.1" for number in (1, 2, 3))
    with database.transaction() as connection:
        add_users(connection, 3)
        add_invoices(connection, "registered", range(1, 2))
        add_invoices(connection, "held", range(2, 3), held_code="erp_conflict", reason="test")
        add_invoices(connection, "registered", range(3, 4))
        made(connection, registered, 10)
        passes(connection, registered, 1, ("due", "calculated"), 9)
        passes(connection, registered, 2, ("initiated", "registered"), 5)
        passes(connection, registered, 3, ("registered", "registered"), 4)
        made(connection, held, 3)
        passes(connection, held, 1, ("sent", "held"), 2)
        passes(connection, held, 2, ("held", "calculated"), 2)
        made(connection, late, 40)
        passes(connection, late, 1, ("initiated", "registered"), 30)
    with database.reading() as reader:
        hours = last_hours(reader)
    assert len(hours) == 24
    by_hours_ago = {23 - place: each for place, each in enumerate(hours)}
    happened = {
        ago: (each.calculated, each.registered, each.held, each.aborted)
        for ago, each in by_hours_ago.items()
        if each.calculated or each.registered or each.held or each.aborted
    }
    assert happened == {9: (1, 0, 0, 0), 5: (0, 1, 0, 0), 2: (0, 0, 1, 0)}
    # The first was open from 10 hours ago until it was registered; the second is since 3 hours ago.
    ages = {ago: each.oldest_seconds / HOUR for ago, each in by_hours_ago.items() if each.oldest_seconds}
    assert {ago: age for ago, age in ages.items() if ago} == {10: 1, 9: 2, 8: 3, 7: 4, 6: 5, 3: 1, 2: 2, 1: 3}
    assert 3 <= ages[0] <= 4


def test_pages_follow_each_other_without_a_gap(database: Database) -> None:
    with database.transaction() as connection:
        add_users(connection, 7)
        add_invoices(connection, "due", range(1, 8))
        seen: list[str] = []
        while page := [each["id"] for each in browse(connection, after=seen[-1] if seen else "", most=3)]:
            seen += page
        assert seen == [f"NU-000{number}.2026-10.1" for number in range(1, 8)]
        assert [each["id"] for each in browse(connection, beginning="NU-0007")] == seen[-1:]
        assert browse(connection, state="held") == browse(connection, period="2026-09") == []
