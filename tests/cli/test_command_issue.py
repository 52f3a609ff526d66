"""`billingd issue`: what it makes due, what it leaves alone, what it refuses, and that it nudges."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from persistence.connection.database import ConnectionSettings, Database
from persistence.invoices import due_invoices
from persistence.invoices.listing import Filter, list_invoices, show_invoices
from persistence.master_data import import_master
from supervision.clock import SystemClock
from tests.cli.command_line import Commands
from tests.support.sample import BAD


@pytest.fixture
def billingd(
    database: Database,
    database_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Commands:
    """Three users, and a billing clock that stands in the middle of November."""
    with database.transaction() as connection:
        import_master(connection, BAD / "master.yaml")
    monkeypatch.setenv("BILLINGD_TEST", "1")
    monkeypatch.setenv("BILLINGD_TEST_NOW", "2026-11-15T00:00:00Z")
    return Commands.on(database_url, tmp_path, capsys)


def ids(database: Database) -> list[str]:
    with database.reading() as reader:
        return [each["id"] for each in list_invoices(reader, Filter())]


def test_it_makes_all_invoices_of_a_closed_period_and_is_harmless_again(billingd: Commands, database: Database) -> None:
    done = billingd("issue", "--period", "2026-10")
    assert (done.status, done.out) == (0, "2026-10: 3 invoices made due, 0 were there\n")
    assert ids(database) == ["user-004.2026-10.1", "user-008.2026-10.1", "user-012.2026-10.1"]
    again = billingd("issue", "--period", "2026-10")
    assert (again.status, again.out) == (0, "2026-10: 0 invoices made due, 3 were there\n")


def test_a_month_of_any_number_of_users_is_made_in_transactions_of_a_few(
    billingd: Commands, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_invoices, "MADE_AT_ONCE", 2)
    done = billingd("issue", "--period", "2026-10")
    assert (done.status, done.out) == (0, "2026-10: 3 invoices made due, 0 were there\n")
    with database.transaction() as connection:
        assert connection.execute(text("SELECT count(DISTINCT CAST(xmin AS text)) FROM invoices")).scalar() == 2


def test_it_makes_those_of_the_users_named_and_keeps_who_did(billingd: Commands, database: Database) -> None:
    done = billingd("issue", "--period", "2026-09", "--network-user", "user-008", "--network-user", "user-004")
    assert (done.status, done.out) == (0, "2026-09: 2 invoices made due, 0 were there\n")
    assert ids(database) == ["user-004.2026-09.1", "user-008.2026-09.1"]
    with database.reading() as reader:
        (invoice,) = show_invoices(reader, ["user-008.2026-09.1"])
    assert [(each["from_state"], each["to_state"], each["reason"]) for each in invoice["history"]] == [
        (None, "due", "issued by hand")
    ]
    assert invoice["history"][0]["actor"].startswith("cli:")


def test_an_unknown_user_makes_nothing_for_anybody(billingd: Commands, database: Database) -> None:
    done = billingd("issue", "--period", "2026-10", "--network-user", "user-004", "--network-user", "nobody")
    assert (done.status, done.out) == (1, "")
    assert done.err == "no such network user in the master data: nobody\n"
    assert ids(database) == []


def test_a_period_that_is_not_closed_is_refused_by_the_billing_clock(billingd: Commands, database: Database) -> None:
    done = billingd("issue", "--period", "2026-11")
    assert done.status == 1
    assert done.err.startswith(
        "the period 2026-11 is not closed: it ends at 2026-11-30T23:00:00Z, and now is 2026-11-15"
    )
    assert ids(database) == []


def test_what_is_no_month_is_a_wrong_use(billingd: Commands) -> None:
    assert billingd("issue", "--period", "2026-13").status == 64
    assert billingd("issue").status == 64


def test_a_user_who_is_not_billed_then_is_left_out_with_a_note(billingd: Commands, database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("UPDATE network_users SET billed_until = '2026-09' WHERE id = 'user-004'"))
        connection.execute(text("DELETE FROM measurement_locations WHERE network_user = 'user-012'"))
    named = [argument for user in ("user-004", "user-012") for argument in ("--network-user", user)]
    done = billingd("issue", "--period", "2026-10", *named)
    assert (done.status, done.out) == (0, "2026-10: 0 invoices made due, 0 were there\n")
    assert done.err.splitlines() == [
        "note: no invoice of 2026-10 for network user user-004: it is billed until 2026-09",
        "note: no invoice of 2026-10 for network user user-012: it has no measurement location",
    ]


def test_it_nudges_the_daemons(billingd: Commands, database_url: str) -> None:
    with Database(ConnectionSettings.from_url(database_url), listen=True) as daemon:
        daemon.notifications()
        assert billingd("issue", "--period", "2026-10").status == 0
        assert "due" in daemon.notifications(wait_seconds=5)


def test_a_clock_that_is_not_the_databases_makes_nothing_due(
    billingd: Commands, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SystemClock, "wall", lambda _: datetime(2031, 1, 1, tzinfo=UTC))
    done = billingd("issue", "--period", "2026-10")
    assert (done.status, "more than an hour apart" in done.err, done.err.count("\n")) == (1, True, 1)
    assert ids(database) == []
