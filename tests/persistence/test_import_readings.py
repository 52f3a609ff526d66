"""The import of readings: whole or not at all, each refusal with file, line and reason, replacement with a trace."""

import gzip
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from billing.invoice import Invoice, calculate
from persistence.connection.database import ConnectionSettings, Database
from persistence.invoices import claims, due_invoices, recalculation
from persistence.invoices.calculation_inputs import fetch_inputs
from persistence.invoices.calculations import store_calculations
from persistence.invoices.claims import Claimer
from persistence.master_data import import_master
from persistence.readings.importing import ReadingsRejected, ReadingsReport, import_readings, replace_readings
from testkit.postgres import PostgresServer
from tests.support.sample import BAD

GOOD = BAD / "readings-2026-08.csv.gz"
METER = "abb-B2x-00129728"
HEADER = (
    "meter_id,timestamp,active_import_total_wh,active_import_t1_wh,active_import_t2_wh,active_export_total_wh,"
    "reactive_import_total_varh,reactive_export_total_varh\n"
)
ROW = f"{METER},2026-08-01T00:00:00Z,10,6,4,1,2,3\n"
NEXT = f"{METER},2026-08-01T00:15:00Z,11,6,5,1,2,3\n"


@pytest.fixture
def master(database: Database) -> Database:
    with database.transaction() as connection:
        import_master(connection, BAD / "master.yaml")
    return database


@pytest.fixture(scope="module")
def without_readings(shared_server: PostgresServer) -> Iterator[Database]:
    """One database with master data for all that is refused: no reading ever gets in."""
    name = "test_import_readings"
    with Database(ConnectionSettings.from_url(shared_server.create_database(name))) as database:
        with database.transaction() as connection:
            import_master(connection, BAD / "master.yaml")
        yield database
    shared_server.drop_database(name)


def take(database: Database, path: Path) -> ReadingsReport:
    with database.transaction() as connection:
        return import_readings(connection, path)


def refusal_of(database: Database, path: Path) -> ReadingsRejected:
    with pytest.raises(ReadingsRejected) as rejected:
        take(database, path)
    assert count(database) == 0
    assert rejected.value.file == str(path)
    return rejected.value


def count(database: Database, table: str = "readings") -> int:
    with database.transaction() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def written(tmp_path: Path, content: str | bytes, name: str = "readings.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_file_comes_in_whole_and_again_as_the_same(master: Database) -> None:
    told: list[int] = []
    with master.transaction() as connection:
        first = import_readings(connection, GOOD, progress=told.append)
    assert (first.rows, first.new, first.same, first.meters) == (11908, 11908, 0, 4)
    assert (first.first_at.isoformat(), first.last_at.isoformat()) == (
        "2026-07-31T22:00:00+00:00",
        "2026-08-31T22:00:00+00:00",
    )
    assert told == sorted(told)
    assert told[-1] == 11908
    again = take(master, GOOD)
    assert (again.new, again.same) == (0, 11908)
    assert count(master) == 11908


@pytest.mark.parametrize(
    ("file", "line", "reason"),
    [
        ("duplicate-timestamp", 4861, "meter abb-B2x-00406524 at 2026-08-20T12:15:00Z stands in line 4860 with other"),
        ("non-numeric", 9392, "reactive_import_total_varh is 'n/a', not a whole number >= 0"),
        ("unknown-meter", 11910, "no meter abb-B2x-00999999 in the master data"),
        ("truncated", None, "the compressed file is cut short or damaged"),
        ("wrong-header", 1, "the header has 'active_import_t1_kwh' as column 4 where 'active_import_t1_wh' belongs"),
        ("timestamp-without-zone", 2, "timestamp '2026-07-31T22:00:00' has no zone; it has to end in Z"),
        ("half-last-line", 11909, "the file is cut short: its last row is only 'abb-B2x-00129728,2026-08-31T22:"),
    ],
)  # fmt: skip
def test_each_bad_file_is_refused_with_line_and_reason(
    without_readings: Database, file: str, line: int | None, reason: str
) -> None:
    refusal = refusal_of(without_readings, BAD / f"readings-{file}.csv.gz")
    assert refusal.reason.startswith(reason)
    assert refusal.line == line or (line is None and cast(int, refusal.line) > 1000)
    assert f"readings-{file}.csv.gz:{refusal.line}: " in str(refusal)


@pytest.mark.parametrize("file", ["decreasing-register", "missing-boundary", "gap-3-days"])
def test_what_only_makes_an_invoice_wait_comes_in(master: Database, file: str) -> None:
    assert take(master, BAD / f"readings-{file}.csv.gz").new > 11000


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("", 1, "the file is empty"),
        (HEADER, None, "it has no rows"),
        (HEADER.rstrip("\n"), None, "it has no rows"),
        (ROW, 1, "the header has 'abb-B2x-00129728' as column 1"),
        (HEADER.replace("\n", ",more\n") + ROW, 1, "the header has 9 columns, not the 8"),
        (HEADER.replace("\n", "\r\n") + ROW, 1, "lines end in CR LF"),
        ("\ufeff" + HEADER + ROW, 1, "the file begins with a byte order mark"),
        (HEADER + ROW + NEXT.replace("\n", "\r\n"), 3, "the line ends in CR LF"),
        (HEADER + ROW + "\n", 3, "the row has 1 fields, not 8"),
        (HEADER + ROW.replace("00:00:00Z", "00:10:00Z"), 2, "timestamp '2026-08-01T00:10:00Z' is not at a full"),
        (HEADER + ROW.replace("00:00:00Z", "00:00:01Z"), 2, "timestamp '2026-08-01T00:00:01Z' is not at a full"),
        (HEADER + ROW.replace("2026-08-01T", "1.8.2026 "), 2, "timestamp '1.8.2026 00:00:00Z' is not an instant"),
        (HEADER + ROW.replace("08-01", "02-30"), 2, "date/time field value out of range"),
        (HEADER + NEXT + ROW.replace("08-01", "13-01"), 3, "date/time field value out of range"),
        (HEADER + ROW.replace(",1,2,3", ",-1,2,3"), 2, "active_export_total_wh is '-1', not a whole number >= 0"),
        (HEADER + ROW.replace(",1,2,3", ",1.5,2,3"), 2, "active_export_total_wh is '1.5', not a whole"),
        (HEADER + ROW.replace(",1,2,3", ",,2,3"), 2, "active_export_total_wh is '', not a whole"),
        (HEADER + ROW.replace(",1,2,3", f",{10**18},2,3"), 2, "active_export_total_wh is '1000000000000000000', more"),
        (HEADER + ROW + NEXT.replace(",11,", ",12,"), 3, "active_import_total_wh 12 is not T1 + T2, 6 + 5"),
        (HEADER + ROW.replace(METER, "nobody"), 2, "no meter nobody in the master data"),
        (HEADER + ROW + "x" * 5000, 3, "the line is too long to be a row"),
        (HEADER + ROW + "x" * 2_000_000, 3, "the line is too long to be a row"),
        (HEADER.encode() + ROW.encode() + NEXT.encode().replace(b"abb", b"\xff"), 3, "invalid byte sequence"),
        (HEADER.encode() + gzip.compress(ROW.encode(), mtime=0), 2, "the file is cut short"),
        (gzip.compress(HEADER.encode() + ROW.encode(), mtime=0)[:-4], 3, "the compressed file is cut short"),
        (gzip.compress(b"", mtime=0)[:10], 2, "the compressed file is cut short"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_line_and_the_reason(
    without_readings: Database, tmp_path: Path, content: str | bytes, line: int | None, reason: str
) -> None:
    refusal = refusal_of(without_readings, written(tmp_path, content))
    assert reason in refusal.reason
    assert refusal.line == line


def test_a_damaged_byte_in_the_compressed_file_is_refused(without_readings: Database, tmp_path: Path) -> None:
    packed = bytearray(GOOD.read_bytes())
    packed[len(packed) // 2] ^= 0xFF
    refusal_of(without_readings, written(tmp_path, bytes(packed), "damaged.csv.gz"))


def test_a_file_that_is_not_there_is_refused(without_readings: Database, tmp_path: Path) -> None:
    assert "No such file" in refusal_of(without_readings, tmp_path / "none.csv").reason


@pytest.mark.parametrize(
    "content",
    [HEADER + ROW + NEXT, (HEADER + ROW + NEXT).rstrip("\n"), HEADER + NEXT + ROW, HEADER + ROW + NEXT + ROW,
     gzip.compress((HEADER + ROW).encode(), mtime=0) + gzip.compress(NEXT.encode(), mtime=0),
     (HEADER + ROW + NEXT).replace("T00:00:00Z", "T02:00:00+02:00")],
    ids=["plain", "no last line end", "any order", "the same row twice", "two gzip members", "another zone"],
)  # fmt: skip
def test_what_is_no_error_comes_in(master: Database, tmp_path: Path, content: str | bytes) -> None:
    report = take(master, written(tmp_path, content))
    assert (report.new, report.same) == (2, report.rows - 2)
    with master.transaction() as connection:
        rows = connection.execute(text("SELECT active_import_total_wh, at FROM readings ORDER BY at")).all()
    assert [(row[0], row[1].isoformat()) for row in rows] == [
        (10, "2026-08-01T00:00:00+00:00"),
        (11, "2026-08-01T00:15:00+00:00"),
    ]


def test_another_value_for_a_known_instant_is_refused_and_replaced_only_when_asked(
    master: Database, tmp_path: Path
) -> None:
    take(master, written(tmp_path, HEADER + ROW))
    other = written(tmp_path, HEADER + NEXT + ROW.replace(",1,2,3", ",1,2,4"), "other.csv")
    with pytest.raises(ReadingsRejected, match=r"other\.csv:3: meter .* at 2026-08-01T00:00:00Z is known with other"):
        take(master, other)
    assert count(master) == 1
    with master.transaction() as connection:
        report = replace_readings(connection, other, "meter was misread", "ana")
    assert (report.rows, report.new, report.same, report.replaced) == (2, 1, 0, 1)
    with master.transaction() as connection:
        kept = connection.execute(text("SELECT * FROM readings_replaced")).one()
        now = connection.execute(text("SELECT reactive_export_total_varh FROM readings ORDER BY at LIMIT 1"))
        assert now.scalar_one() == 4
    assert (kept.meter_id, kept.reactive_export_total_varh) == (METER, 3)
    assert (kept.replaced_by, kept.reason) == ("ana", "meter was misread")
    with master.transaction() as connection:
        again = replace_readings(connection, other, "meter was misread", "ana")
    assert (again.same, again.replaced) == (2, 0)


def test_a_replacement_that_contradicts_itself_is_refused(master: Database, tmp_path: Path) -> None:
    take(master, written(tmp_path, HEADER + ROW))
    other = written(tmp_path, HEADER + ROW.replace(",1,2,3", ",1,2,4") + ROW.replace(",1,2,3", ",1,2,5"), "other.csv")
    with pytest.raises(ReadingsRejected, match="stands in line 2 with other"), master.transaction() as connection:
        replace_readings(connection, other, "why", "ana")
    assert count(master, "readings_replaced") == 0


def calculate_due(database: Database) -> None:
    by = Claimer("here#1", 60.0)
    with database.transaction() as connection:
        claimed = {each.invoice_id: each.claim for each in claims.claim_due(connection, by, claims.Wanted(10))}
        made = [calculate(basis, 95) for basis in fetch_inputs(connection, list(claimed), ZoneInfo("Europe/Zagreb"))]
        pairs = [(claimed[str(each.id)], each) for each in made if isinstance(each, Invoice)]
        assert len(store_calculations(connection, by.name, uuid.uuid4(), pairs).done) == 3


def test_a_replacement_lists_the_invoices_that_were_computed_from_the_old_values(
    master: Database, tmp_path: Path
) -> None:
    take(master, GOOD)
    with master.transaction() as connection:
        due_invoices.make_due(connection, "test", ["2026-08"], reason="test")
    calculate_due(master)
    with gzip.open(GOOD, "rt", encoding="utf-8") as file:
        rows = [row for row in file if row.startswith(f"{METER},2026-08-31T22:00:00Z")]
    meter, at, total, t1, t2, *rest = rows[0].split(",")
    row = ",".join([meter, at, str(int(total) + 1000), str(int(t1) + 1000), t2, *rest])
    with master.transaction() as connection:
        report = replace_readings(connection, written(tmp_path, HEADER + row), "estimated before", "ana")
    assert report.invoices == ("user-012.2026-08.1",)
    with master.transaction() as connection:
        later = replace_readings(connection, written(tmp_path, HEADER + row), "the same", "ana")
    assert later.invoices == ()


def test_invoices_that_wait_for_these_meters_are_looked_at_again_and_the_daemons_nudged(
    master: Database, database_url: str
) -> None:
    with master.transaction() as connection:
        due_invoices.make_due(connection, "test", ["2026-08"], reason="test")
        connection.execute(
            text(
                "UPDATE invoices SET next_attempt_at = now() + interval '1 hour', held_code = 'readings_incomplete', "
                "held_reason = 'any' WHERE network_user_id <> 'user-004'"
            )
        )
    with Database(ConnectionSettings.from_url(database_url), listen=True) as daemon:
        daemon.notifications()
        assert take(master, GOOD).invoices_released == 2
        assert "due" in daemon.notifications(wait_seconds=5)
    with master.transaction() as connection:
        assert recalculation.take_up(connection) == 2
        waiting = connection.execute(text("SELECT count(*) FROM invoices WHERE next_attempt_at IS NOT NULL"))
        assert waiting.scalar_one() == 0
