"""A database that stands elsewhere than before may have forgotten offers: the ERP is asked first, once each."""

import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from billing.erp_answers import OFFER_AGAIN
from persistence.connection.database import Database
from persistence.connection.errors import DatabaseUnreachable
from persistence.connection.seen_server import SeenServer
from persistence.invoices.changes import Change
from persistence.timelines import record_change
from testkit.postgres import PostgresServer
from testkit.waiting import wait_until
from tests.support.billed_months import AUGUST, calculate_august, change, claim_offers
from tests.support.superuser import as_superuser


def record(database: Database, *, changed: bool = False, asked_up_to: str = "2026-08") -> bool:
    with database.transaction() as connection:
        return record_change(connection, asked_up_to, changed=changed)


def move(database: Database) -> None:
    """As if the newest row were of another timeline."""
    as_superuser(database, "UPDATE database_timelines SET timeline = timeline - 1")


def store(database: Database, outcome: str) -> None:
    """This outcome of whatever is claimed, which stays `sent`."""
    with database.transaction() as connection:
        rows = connection.execute(text("SELECT id, claim FROM invoices WHERE claimed_by IS NOT NULL")).all()
    change(database, *(Change(invoice_id=row[0], claim=row[1], reason="test", outcome=outcome) for row in rows))


def actions(database: Database) -> set[str]:
    found = claim_offers(database)
    assert {each.invoice_id for each in found} == set(AUGUST)
    assert {each.state for each in found} == {"sent"}
    assert all((each.body is not None) == (each.action == "offer") for each in found)
    return {each.action for each in found}


def test_where_it_stands_first_and_where_it_stands_still_are_no_change(database: Database) -> None:
    calculate_august(database)
    assert not record(database)
    assert not record(database)
    assert actions(database) == {"offer"}
    store(database, "refused")
    assert actions(database) == {"offer"}


def test_after_a_change_what_is_calculated_is_asked_about_before_its_first_offer(database: Database) -> None:
    calculate_august(database)
    record(database)
    move(database)
    assert record(database)
    assert not record(database), "once"
    assert actions(database) == {"ask"}
    store(database, "absent")
    assert actions(database) == {"offer"}


def test_what_belongs_to_a_later_month_can_not_have_been_offered(database: Database) -> None:
    calculate_august(database)
    record(database)
    move(database)
    assert record(database, asked_up_to="2026-07")
    assert actions(database) == {"offer"}


@pytest.mark.parametrize("outcome", OFFER_AGAIN)
def test_a_stored_outcome_of_before_the_change_is_no_proof(database: Database, outcome: str) -> None:
    calculate_august(database)
    record(database)
    assert actions(database) == {"offer"}
    store(database, outcome)
    move(database)
    assert record(database)
    assert actions(database) == {"ask"}
    with database.transaction() as connection:
        connection.execute(text("UPDATE invoices SET claimed_until = now()"))
    assert actions(database) == {"ask"}, "the question had no answer"
    store(database, "absent")
    assert actions(database) == {"offer"}


def test_an_outcome_of_a_claim_of_before_the_change_is_no_proof_though_it_is_stored_after_it(
    database: Database,
) -> None:
    calculate_august(database)
    record(database)
    assert actions(database) == {"offer"}
    assert record(database, changed=True), "set back on the same timeline"
    store(database, "refused")
    assert actions(database) == {"ask"}


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    return tmp_path / "database-seen"


@pytest.fixture
def own(server: PostgresServer) -> PostgresServer:
    server.execute("CREATE TABLE some_rows (number int)")
    return server


def look(server: PostgresServer, seen_server: SeenServer) -> None:
    with Database(server.settings(), seen_server=seen_server) as database, database.transaction() as connection:
        seen_server.note_position(connection)


def test_a_server_that_goes_on_is_the_same_whether_it_stops_in_order_or_not(own: PostgresServer, seen: Path) -> None:
    for end in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        look(own, known := SeenServer(seen))
        assert not known.changed
        own.execute("INSERT INTO some_rows SELECT generate_series(1, 1000)")
        look(own, known)
        own.stop(end)
        own.start()
    look(own, known := SeenServer(seen))
    assert not known.changed


def test_a_backup_that_is_put_back_is_noticed_by_the_process_and_by_its_successor(
    own: PostgresServer, seen: Path, tmp_path: Path
) -> None:
    running = SeenServer(seen)
    own.back_up(tmp_path / "backup")
    own.execute("INSERT INTO some_rows SELECT generate_series(1, 1000)")
    look(own, running)
    own.restore(tmp_path / "backup")
    after = SeenServer(seen)
    look(own, after)
    assert after.changed
    look(own, running)
    assert running.changed
    look(own, again := SeenServer(seen))
    assert not again.changed, "it is known now"


def test_an_old_primary_is_refused_until_a_person_empties_the_file(own: PostgresServer, seen: Path) -> None:
    look(own, SeenServer(seen))
    system_identifier, timeline, position = seen.read_text().split()
    seen.write_text(f"{system_identifier} {int(timeline) + 1} {position}")
    with pytest.raises(DatabaseUnreachable, match="is on timeline 1, and timeline 2 was seen before"):
        look(own, SeenServer(seen))
    seen.write_text("")
    look(own, accepted := SeenServer(seen))
    assert accepted.changed
    look(own, again := SeenServer(seen))
    assert not again.changed


def test_what_was_seen_is_not_written_through_a_link(own: PostgresServer, seen: Path) -> None:
    precious = seen.with_name("precious")
    precious.write_text("precious")
    seen.symlink_to(precious)
    look(own, SeenServer(seen))
    assert precious.read_text() == "precious"


def test_a_session_to_the_old_primary_is_left_when_another_has_come_to_the_new(own: PostgresServer) -> None:
    shared = SeenServer()
    with Database(own.settings(), seen_server=shared) as database:
        with database.transaction():
            pass
        assert database.sessions == 1
        shared._timeline = 2
        with pytest.raises(DatabaseUnreachable, match="old primary"), database.transaction():
            pass


def test_a_session_that_any_server_is_good_for_stays_in_use(own: PostgresServer) -> None:
    look(own, shared := SeenServer())
    with Database(replace(own.settings(), any_server=True), seen_server=shared) as database:
        for _ in range(2):
            with database.transaction():
                pass
        assert database.sessions == 1


def test_who_waits_for_the_old_primary_is_let_go_when_another_has_come_to_the_new(own: PostgresServer) -> None:
    shared, errors = SeenServer(), []

    def wait() -> None:
        try:
            with Database(own.settings(), seen_server=shared) as database, database.transaction() as connection:
                connection.execute(text("SELECT pg_sleep(25)"))
        except DatabaseUnreachable as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: own.rows("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
    (session,) = shared._sessions
    session.timeline = shared._timeline = 0  # of before a promotion
    began = time.monotonic()
    look(own, shared)
    thread.join(20)
    assert len(errors) == 1
    assert time.monotonic() - began < 15


def test_the_history_says_why_it_was_asked_about(database: Database) -> None:
    calculate_august(database)
    record(database, changed=True)
    assert len(claim_offers(database, 1)) == 1
    with database.transaction() as connection:
        reasons = connection.execute(text("SELECT reason FROM invoice_history WHERE to_state = 'sent'")).scalars()
        assert list(reasons) == ["the ERP is asked first, since the database has stood elsewhere"]
