"""Readings that come after an invoice of their time was computed: it is named, and nobody is taken for a forger."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from altibiz.fake.server import FakeAltibiz
from cli.verify import verify_invoices
from persistence.connection.database import Database
from persistence.invoices import corrections
from persistence.master_data import import_master
from persistence.readings.importing import ReadingsReport, import_readings, replace_readings
from tests.billing.billing_samples import ZAGREB
from tests.persistence.test_worked_months import calculate_october
from tests.support.billed_months import book, states
from tests.support.superuser import as_superuser
from tests.support.worked_months import master_of, read_month, rows_of, write_readings, write_yaml

FIRST, SECOND = "user-1.2026-10.1", "user-1.2026-10.2"
LATE = ",2026-10-05T0"
"""What comes late of a month that is billed for its peak: 40 of 2,980 quarter hours, so 95 % are there without."""


@pytest.fixture
def rows(database: Database, tmp_path: Path) -> list[str]:
    """The readings of a month that was computed without the late ones."""
    month = read_month("01-exchange-at-a-quarter-hour")
    rows = list(dict.fromkeys(rows_of(month)))
    with database.transaction() as connection:
        import_master(connection, write_yaml(tmp_path / "master.yaml", master_of(month)))
    take(database, tmp_path, [each for each in rows if LATE not in each])
    assert calculate_october(database) == {FIRST}
    return rows


def take(database: Database, folder: Path, rows: Sequence[str], **replace: Any) -> ReadingsReport:
    path = write_readings(folder / "some.csv", iter(rows))
    with database.transaction() as connection:
        if replace:
            return replace_readings(connection, path, **replace)
        return import_readings(connection, path, who="inbox")


def late(rows: Sequence[str]) -> list[str]:
    return [each for each in rows if LATE in each]


def verified(database: Database) -> tuple[list[str], list[str]]:
    """The invoices with findings, and those whose readings were replaced or came late."""
    result = verify_invoices(database, None)
    return [each.id for each in result.findings], [each.id for each in result.replaced]


def test_an_import_names_the_invoices_that_were_computed_without_its_readings(
    database: Database, tmp_path: Path, rows: list[str]
) -> None:
    assert take(database, tmp_path, [*rows[:8], *late(rows)]).invoices == (FIRST,)
    assert verified(database) == ([], [FIRST])
    assert take(database, tmp_path, rows).invoices == (), "they are known now"
    as_superuser(database, "DELETE FROM readings_replaced WHERE at = '2026-10-05 04:00Z'")
    assert verified(database) == ([FIRST], []), "one that came no way that leaves a trace"


def test_a_late_reading_that_is_replaced_is_still_a_late_one(
    database: Database, tmp_path: Path, rows: list[str]
) -> None:
    take(database, tmp_path, late(rows))
    meter, at, total, t1, *rest = late(rows)[0].split(",")
    changed = ",".join([meter, at, str(int(total) + 1), str(int(t1) + 1), *rest])
    assert take(database, tmp_path, [changed], reason="misread", who="me").invoices == (FIRST,)
    assert verified(database) == ([], [FIRST])


@pytest.mark.parametrize("ends", ["superseded", "waived"])
def test_invoices_that_are_not_live_are_told_of_late_readings_too(
    database: Database, tmp_path: Path, rows: list[str], ends: str
) -> None:
    order: Any = "waive" if ends == "waived" else "correct"
    with FakeAltibiz() as erp:
        if order == "correct":
            book(database, erp)
            as_superuser(database, "UPDATE network_user_catalogues SET meter_fee = meter_fee + 1")
        with database.transaction() as connection:
            taken = corrections.take_up(connection, order, FIRST, "me", offer_seconds=1, lease_seconds=60)
            if order == "waive":
                corrections.waive(connection, taken, "me", "x")
            else:
                corrections.correct(connection, taken, "me", "x", ZAGREB, Decimal(95))
        book(database, erp)
    known = sorted(states(database))
    assert known == ([FIRST, SECOND] if order == "correct" else [FIRST])
    assert take(database, tmp_path, late(rows)).invoices == tuple(known)
    assert verified(database) == ([], known)


def test_a_month_that_is_taken_in_again_after_it_was_archived_is_not_late(
    database: Database, tmp_path: Path, rows: list[str]
) -> None:
    as_superuser(database, "ALTER TABLE readings DETACH PARTITION readings_2026_10; DROP TABLE readings_2026_10")
    assert take(database, tmp_path, [each for each in rows if LATE not in each]).invoices == ()
    with database.transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM readings_replaced")).scalar_one() == 0
    assert verified(database) == ([], [])
