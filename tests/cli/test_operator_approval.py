"""An operator's orders over many invoices at once reach those that were shown, and no others."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from persistence.connection.database import ConnectionSettings, Database
from testkit.waiting import wait_until
from tests.cli.command_line import Commands, Done
from tests.support.invoice_rows import add_invoices, add_users

OCTOBER = [f"NU-000{number}.2026-10.1" for number in (1, 2, 3)]


@pytest.fixture
def billingd(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands.on(database_url, tmp_path, capsys)


@pytest.fixture
def waiting(database: Database) -> Database:
    """Two calculated invoices of October, whose third is due."""
    with database.transaction() as connection:
        add_users(connection, 3)
        add_invoices(connection, "calculated", range(1, 3), period="2026-10")
        add_invoices(connection, "due", range(3, 4), period="2026-10")
    return database


def approved(database: Database) -> list[str]:
    with database.transaction() as connection:
        return list(
            connection.execute(text("SELECT id FROM invoices WHERE approved_at IS NOT NULL ORDER BY id")).scalars()
        )


def answer_after(monkeypatch: pytest.MonkeyPatch, database_url: str, *statements: str) -> None:
    """The operator says yes, but only after these statements of somebody else."""

    def confirm(_question: str, **_: object) -> bool:
        with Database(ConnectionSettings.from_url(database_url)) as other, other.transaction() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            for statement in statements:
                connection.execute(text(statement), {"id": OCTOBER[0], "due": OCTOBER[2]})
        return True

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", confirm)


CALCULATED = """UPDATE invoices SET state = 'calculated', total_eur = 900, tax_rate_percent = 13, tax_eur = 100,
                total_with_tax_eur = 1000, invoice_date = '2026-11-01' WHERE id = :due"""


def test_item_3_what_is_calculated_while_the_operator_looks_is_not_approved_with_the_period(
    waiting: Database, database_url: str, billingd: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_after(monkeypatch, database_url, CALCULATED)
    done = billingd("invoices", "approve", "--period", "2026-10", "--reason", "seen")
    assert (done.status, done.err.splitlines()[-1]) == (0, "2 approved")
    assert approved(waiting) == OCTOBER[:2]


@pytest.mark.parametrize("asked_for", [["--period", "2026-10"], OCTOBER[:2]])
def test_item_3_what_no_longer_waits_is_not_approved_and_is_said(
    waiting: Database,
    database_url: str,
    billingd: Commands,
    monkeypatch: pytest.MonkeyPatch,
    asked_for: list[str],
) -> None:
    answer_after(
        monkeypatch, database_url,
        "UPDATE invoices SET state = 'aborted', abort_reason = 'x', ended_by = 'operator' WHERE id = :id",
    )  # fmt: skip
    done = billingd("invoices", "approve", *asked_for, "--reason", "seen")
    assert done.status == 1
    assert "1 approved" in done.err
    assert f"{OCTOBER[0]}: there is no such invoice that waits for approval" in done.err
    assert approved(waiting) == OCTOBER[1:2]


def test_item_3_a_retry_by_code_leaves_what_is_held_with_another_code_by_then(
    database: Database, database_url: str, billingd: Commands
) -> None:
    with database.transaction() as connection:
        add_users(connection, 2)
        add_invoices(connection, "held", range(1, 3), period="2026-10", held_code="erp_refused_invoice", reason="x")
    done: list[Done] = []
    with Database(ConnectionSettings.from_url(database_url)) as other, other.transaction() as connection:
        connection.execute(text("UPDATE invoices SET held_code = 'erp_conflict' WHERE id = :id"), {"id": OCTOBER[1]})
        command = threading.Thread(
            target=lambda: done.append(billingd("invoices", "retry", "--code", "erp_refused_invoice", "--reason", "x"))
        )
        command.start()
        wait_until(lambda: waits_for_a_lock(database))
    command.join(30)
    assert done[0].out == f"{OCTOBER[0]}: goes on\n"
    with database.transaction() as connection:
        held = connection.execute(text("SELECT id FROM invoices WHERE state = 'held'")).scalars().all()
    assert held == OCTOBER[1:2]


def waits_for_a_lock(database: Database) -> bool:
    """Whether a session of this database waits for another's row."""
    with database.transaction() as connection:
        return bool(
            connection.execute(
                text("""SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                        AND wait_event_type = 'Lock')""")
            ).scalar()
        )
