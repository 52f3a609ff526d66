"""Months of readings that are over: taken out while others read, no longer verifiable, never mixed up with new ones."""

import re
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from cli.verify import VerificationResult, verify_invoices
from persistence.connection.database import ConnectionSettings, Database
from persistence.master_data import import_master
from persistence.readings.importing import ReadingsRejected, ReadingsReport, import_readings
from testkit.waiting import wait_until
from tests.support.billed_months import calculate_august
from tests.support.sample import BAD, ROOT
from tests.support.superuser import superuser

AUGUST = BAD / "readings-2026-08.csv.gz"


def documented(beginning: str, month: str) -> str:
    """The statement of the document that begins so, for this month in place of January 2025."""
    statements: list[str] = re.findall(r"ALTER TABLE [^;]*", (ROOT / "docs" / "archiving.md").read_text("utf-8"))
    (statement,) = [each for each in statements if each.startswith(f"ALTER TABLE readings {beginning}")]
    following = f"{month[:5]}{int(month[5:]) + 1:02}"
    return statement.replace("2025_01", month.replace("-", "_")).replace("2025-01", month).replace("2025-02", following)


@pytest.fixture
def calculated(database: Database) -> Database:
    """Three invoices of August, in Zagreb: from the last two hours of July in UTC on."""
    calculate_august(database)
    return database


def result(database: Database) -> VerificationResult:
    found = verify_invoices(database, None)
    assert (found.verified, found.findings) == (3, [])
    return found


def take(database: Database, path: Path) -> ReadingsReport:
    with database.transaction() as connection:
        return import_readings(connection, path)


@pytest.mark.parametrize("month", ["2026-07", "2026-08"])
def test_a_month_is_taken_out_while_others_work_and_comes_back(
    calculated: Database, database_url: str, month: str
) -> None:
    assert result(calculated).not_verifiable == []
    reader = Database(ConnectionSettings.from_url(database_url))
    with reader, reader.transaction() as connection:
        connection.execute(text("SELECT count(*) FROM network_users"))
        superuser(calculated).run_alone(documented("DETACH", month))
    found = result(calculated).not_verifiable
    assert len(found) == 4  # each measurement location
    assert all(each.what.endswith(f"has no readings of {month} any more") for each in found)
    superuser(calculated).run_alone(documented("ATTACH", month))
    assert result(calculated).not_verifiable == []


def test_an_archived_month_is_not_imported_beside_itself_and_a_dropped_one_is_made_anew(calculated: Database) -> None:
    superuser(calculated).run_alone(documented("DETACH", "2026-08"))
    with pytest.raises(ReadingsRejected, match="the readings of 2026-08 are archived") as refused:
        take(calculated, AUGUST)
    assert refused.value.line == 10  # the first eight rows are July's
    superuser(calculated).run_alone("DROP TABLE readings_2026_08")
    report = take(calculated, AUGUST)
    assert (report.rows, report.same) == (11908, 4 * 8)
    assert result(calculated).not_verifiable == []


def test_two_imports_that_need_the_same_new_month_end_with_one_month(database: Database, database_url: str) -> None:
    with database.transaction() as connection:
        import_master(connection, BAD / "master.yaml")
    reports: list[ReadingsReport] = []

    def second() -> None:
        with Database(ConnectionSettings.from_url(database_url).without_limits()) as other:
            reports.append(take(other, AUGUST))

    thread = threading.Thread(target=second)
    with database.transaction() as connection:
        first = import_readings(connection, AUGUST)
        thread.start()
        with Database(ConnectionSettings.from_url(database_url)) as onlooker:
            wait_until(lambda: waits_for_a_lock(onlooker))
    thread.join(30)
    assert (first.new, first.same) == (11908, 0)
    assert [(each.new, each.same) for each in reports] == [(0, 11908)]


def waits_for_a_lock(onlooker: Database) -> bool:
    with onlooker.transaction() as connection:
        waiting = text("SELECT count(*) FROM pg_locks WHERE relation = 'readings'::regclass AND NOT granted")
        return bool(connection.execute(waiting).scalar_one())
