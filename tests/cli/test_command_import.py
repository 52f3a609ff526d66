"""`billingd import`: every bad file through the command, the good ones counted, the replaced ones listed."""

import gzip
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.errors import DatabaseUnreachable
from persistence.imports import import_file
from persistence.invoices import due_invoices
from persistence.master_data import import_master
from testkit.postgres import PostgresServer
from tests.cli.command_line import Commands
from tests.support.calculated_rows import calculate_due
from tests.support.sample import BAD, ROOT

GOOD = BAD / "readings-2026-08.csv.gz"
METER = "abb-B2x-00129728"
REFUSED = {
    "readings-duplicate-timestamp.csv.gz": "abb-B2x-00406524 at 2026-08-20T12:15:00Z stands in line",
    "readings-non-numeric.csv.gz": "reactive_import_total_varh is 'n/a', not a whole number",
    "readings-unknown-meter.csv.gz": "no meter abb-B2x-00999999 in the master data",
    "readings-truncated.csv.gz": "the compressed file is cut short or damaged",
    "readings-wrong-header.csv.gz": "'active_import_t1_kwh' as column 4",
    "readings-timestamp-without-zone.csv.gz": "has no zone",
    "readings-half-last-line.csv.gz": "the file is cut short: its last row",
}
IMPORTED = ("readings-decreasing-register", "readings-gap-3-days", "readings-missing-boundary")
REFUSED_MASTER = {
    "master-missing-price.yaml": "network_user_catalogues[red-low].active_power_peak_price: is missing",
    "master-unknown-kind.yaml": "network_user_catalogues[blue-low].kind: 'yellow_low' is none of",
    "master-duplicate-id.yaml": "measurement_locations[ml-004-1]: an entry with this id stands in line",
    "master-negative-price.yaml": "network_user_catalogues[white-low].active_energy_t2_price:",
}


@pytest.fixture(scope="module")
def kept_url(shared_server: PostgresServer) -> Iterator[str]:
    """One database with master data for all that is refused: nothing ever gets in."""
    url = shared_server.create_database("test_command_import")
    with Database(ConnectionSettings.from_url(url)) as database, database.transaction() as connection:
        import_master(connection, BAD / "master.yaml")
    yield url
    shared_server.drop_database("test_command_import")


@pytest.fixture
def billingd(database: Database, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    """The commands on a database with the master data that goes with the bad readings."""
    with database.transaction() as connection:
        import_master(connection, BAD / "master.yaml")
    return Commands.on(database_url, tmp_path, capsys)


def count(url: str, table: str) -> int:
    with Database(ConnectionSettings.from_url(url)) as database, database.transaction() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_file_of_readings_is_refused_with_file_line_and_reason(
    name: str, kept_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = Commands.on(kept_url, tmp_path, capsys)("import", "readings", BAD / name)
    assert (done.status, done.out) == (1, "")
    (problem,) = done.err.splitlines()
    assert problem.startswith(f"{BAD / name}:")
    assert problem.removeprefix(f"{BAD / name}:").split(":")[0].isdecimal()
    assert REFUSED[name] in problem
    assert count(kept_url, "readings") == 0


@pytest.mark.parametrize("name", IMPORTED)
def test_what_only_billing_can_judge_is_imported(name: str, billingd: Commands, database_url: str) -> None:
    done = billingd("import", "readings", BAD / f"{name}.csv.gz")
    assert (done.status, done.err) == (0, "")
    rows = count(database_url, "readings")
    assert f"{rows} rows of 4 meters" in done.out
    assert f"{rows} new, 0 known" in done.out


@pytest.mark.parametrize("name", REFUSED_MASTER)
def test_a_bad_file_of_master_data_is_refused_with_line_and_key(
    name: str, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = Commands.on(database_url, tmp_path, capsys)("import", "master", BAD / name)
    assert (done.status, done.out) == (1, "")
    (problem,) = done.err.splitlines()
    where, _, rest = problem.removeprefix(f"{BAD / name}:").partition(": ")
    assert where.isdecimal()
    assert rest.startswith(REFUSED_MASTER[name])
    assert count(database_url, "network_user_catalogues") == 0


def test_master_data_is_counted_and_the_same_again_changes_nothing(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    billingd = Commands.on(database_url, tmp_path, capsys)
    assert "  meters: 4 added, 0 updated, 0 unchanged" in billingd("import", "master", BAD / "master.yaml").out
    again = billingd("import", "master", BAD / "master.yaml")
    assert (again.status, again.err) == (0, "")
    assert "  meters: 0 added, 0 updated, 4 unchanged" in again.out


def test_a_bad_or_missing_file_keeps_no_other_out(billingd: Commands, database_url: str) -> None:
    nowhere = BAD / "nowhere.csv"
    done = billingd.process("import", "readings", BAD / "readings-wrong-header.csv.gz", nowhere, GOOD)
    assert done.status == 1
    assert done.out.startswith(f"{GOOD}: ")
    assert done.err.splitlines()[1] == f"{nowhere}: it can't be read: No such file or directory"
    assert len(done.err.splitlines()) == 2, "no bar where standard error is no terminal"
    assert count(database_url, "readings") > 0


def test_what_came_is_listed_with_what_became_of_it(billingd: Commands) -> None:
    bad = BAD / "readings-wrong-header.csv.gz"
    reason = billingd("import", "readings", bad).err.strip()
    billingd("import", "readings", bad, GOOD)
    billingd("import", "master", BAD / "master.yaml")
    listed = billingd("imports", "list", "--json").document
    assert [(row["name"], row["state"], row["kind"]) for row in listed] == [
        (str(BAD / "master.yaml"), "imported", "master"),
        (str(GOOD), "imported", "readings"),
        (str(bad), "refused", "readings"),
    ]
    assert listed[2]["reasons"] == [reason]
    assert listed[1]["source"].startswith("cli:")
    assert listed[1]["rows"] == listed[1]["new"] > 0
    assert (listed[0]["new"], listed[0]["known"]) == (0, listed[0]["rows"])
    assert [row["id"] for row in billingd("imports", "list", "--refused", "--json").document] == [listed[2]["id"]]
    assert reason in billingd("imports", "show", listed[2]["id"]).out
    assert f"{listed[1]['rows']} rows" in billingd("imports", "show", listed[1]["id"]).out
    assert billingd("imports", "list").out.splitlines()[0].split() == [
        "id", "finished", "state", "kind", "from", "rows", "new", "file", "why",
    ]  # fmt: skip
    unknown = billingd("imports", "show", "nothing")
    assert (unknown.status, unknown.err.count("\n")) == (1, 1)


def test_with_wait_an_import_waits_for_the_database(server: PostgresServer, tmp_path: Path) -> None:
    billingd = Commands(tmp_path, database={"url": server.url(), "connect_timeout_seconds": 1})
    server.stop()
    assert billingd.process("import", "master", BAD / "master.yaml").status == 1
    line = billingd.line("import", "master", "--wait", BAD / "master.yaml")
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        assert waiting.stderr.readline().endswith("waiting for it\n")
        server.start()
        out, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert "meters: 4 added" in out


def test_a_known_reading_changes_only_with_replace_which_keeps_who_and_why_and_lists_the_invoices(
    billingd: Commands, database: Database, tmp_path: Path
) -> None:
    billingd("import", "readings", GOOD)
    with database.transaction() as connection:
        due_invoices.make_due(connection, "test", ["2026-08"], reason="test")
    assert len(calculate_due(database)) == 3
    with gzip.open(GOOD, "rt", encoding="utf-8") as file:
        header, *rows = file
    row = next(each for each in rows if each.startswith(f"{METER},2026-08-31T22:00:00Z"))
    other = tmp_path / "other.csv"
    meter, at, total, t1, *rest = row.split(",")
    other.write_text(header + ",".join([meter, at, str(int(total) + 1000), str(int(t1) + 1000), *rest]))
    refused = billingd("import", "readings", other)
    assert refused.status == 1
    assert refused.err.startswith(f"{other}:2: meter {METER} at 2026-08-31T22:00:00Z is known with other values")
    replaced = billingd("import", "readings", "--replace", "--reason", "misread", other)
    assert (replaced.status, replaced.err) == (0, "")
    assert "0 new, 1 replaced, 0 known" in replaced.out
    assert replaced.out.splitlines()[-1].strip() == "user-012.2026-08.1"
    with database.transaction() as connection:
        kept = connection.execute(text("SELECT replaced_by, reason FROM readings_replaced")).one()
    assert kept.replaced_by.startswith("cli:")
    assert kept.reason == "misread"


def test_a_reason_without_replace_is_a_wrong_use(billingd: Commands) -> None:
    done = billingd("import", "readings", "--reason", "why", GOOD)
    assert done.status == 64
    assert "goes with --replace only" in done.err


def test_a_terminal_sees_how_far_it_is_on_standard_error(billingd: Commands, database_url: str) -> None:
    done = billingd.on_terminal("import", "readings", GOOD)
    rows = count(database_url, "readings")
    assert done.out.splitlines()[0].startswith(f"{GOOD}: {rows} rows")
    assert f"{rows:,} rows" in done.err


HEADER = gzip.decompress(GOOD.read_bytes()).split(b"\n")[0] + b"\n"


def row(instant: str) -> bytes:
    return f"{METER},{instant},10,6,4,1,2,3\n".encode()


@pytest.mark.parametrize(
    ("instant", "says", "taken"),
    [
        ("1999-12-31T23:45:00Z", "1999-12-31T23:45Z is before 2000; --any-time takes", True),
        ("2000-01-01T00:00:00+01:00", "1999-12-31T23:00Z is before 2000", True),
        ("2999-12-31T23:45:00Z", "2999-12-31T23:45Z is in the future; --any-time takes", True),
        ("0001-01-01T00:00:00+14:00", "is not of the years 1900 to 2999", False),
        ("9999-12-31T23:45:00-14:00", "is not of the years 1900 to 2999", False),
        ("0000-01-01T00:00:00Z", "is not of the years 1900 to 2999", False),
        ("2026-02-30T00:00:00Z", "out of range", False),
        ("2026-02-01T00:00:00+99:00", "out of range", False),
    ],
)
def test_an_instant_that_can_hardly_be_meant_is_refused_unless_asked_for(
    billingd: Commands, tmp_path: Path, instant: str, says: str, taken: bool
) -> None:
    file = tmp_path / "odd.csv"
    file.write_bytes(HEADER + row("2026-08-01T00:00:00Z") + row(instant))
    done = billingd("import", "readings", file)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"{file}:3: ")
    assert says in done.err
    assert len(done.err.splitlines()) == 1
    done = billingd("import", "readings", "--any-time", file)
    assert (done.status, len(done.err.splitlines())) == (0, 0) if taken else (1, 1)


def test_readings_and_master_data_come_through_a_pipe(billingd: Commands, database_url: str, tmp_path: Path) -> None:
    def piped(content: bytes, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            billingd.line("import", *arguments), input=content, cwd=ROOT, capture_output=True, timeout=60, check=False
        )

    plain = gzip.decompress(GOOD.read_bytes())
    for content, new in ((plain, True), (GOOD.read_bytes(), False)):
        done = piped(content, "readings", "-")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(b"-: ")
        assert (b" 0 new" in done.stdout) is not new
    done = piped(HEADER + b"nonsense\n", "readings", "-")
    assert (done.returncode, done.stderr.startswith(b"-:2: ")) == (1, True)
    done = piped((BAD / "master.yaml").read_bytes(), "master", "/dev/stdin")
    assert done.stdout.startswith(b"/dev/stdin: imported")
    done = piped(b"[" * 100_000, "master", "-")
    assert (done.returncode, done.stderr) == (1, b"-:1: file: the file is nested too deeply\n")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    threading.Thread(target=fifo.write_bytes, args=(plain,), daemon=True).start()
    done = piped(b"", "readings", str(fifo))
    assert (done.returncode, f"{fifo}: ".encode() in done.stdout) == (0, True)


def test_what_a_pipe_gave_outlasts_a_database_that_goes_away_meanwhile(
    billingd: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter((DatabaseUnreachable("it has gone"),))

    def gone_once(*arguments: Any, **named: Any) -> Any:
        for error in answers:
            raise error
        return import_file(*arguments, **named)

    monkeypatch.setattr("cli.imports.import_file", gone_once)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    threading.Thread(target=fifo.write_bytes, args=(GOOD.read_bytes(),), daemon=True).start()
    done = billingd("import", "readings", "--wait", fifo)
    assert (done.status, done.err) == (0, "it has gone; waiting for it\n")
    assert " 0 known" in done.out
