"""What the commands make of a database that is away, foreign, without schema, or their own and not begun."""

from pathlib import Path

import pytest

from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.statements import fetch_value
from persistence.embedded.server import EmbeddedServer, StateLock
from persistence.schema.migrate import current_revision, expected_revision
from testkit.ports import free_port
from testkit.postgres import PostgresServer
from tests.cli.command_line import Commands
from tests.support.sample import BAD

NEED_THE_DATABASE = (
    ["import", "master", str(BAD / "master.yaml")],
    ["import", "readings", str(BAD / "readings-2026-08.csv.gz")],
    ["issue", "--period", "2026-08"],
    ["invoices", "list", "--json"],
    ["invoices", "show", "x.2026-08.1"],
    ["invoices", "retry", "--all-held"],
    ["alarms", "list"],
    ["alarms", "ack", "a1"],
)


@pytest.fixture
def empty_url(shared_server: PostgresServer) -> str:
    """A database without our schema."""
    with Database(shared_server.settings("postgres")) as database:
        database.run_alone("DROP DATABASE IF EXISTS test_empty WITH (FORCE)")
        database.run_alone("CREATE DATABASE test_empty")
    return shared_server.url("test_empty")


@pytest.mark.parametrize("arguments", NEED_THE_DATABASE, ids=" ".join)
def test_a_database_that_is_away_is_one_line_and_1(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    done = Commands.on(f"postgresql://u:secret@127.0.0.1:{port}/n", tmp_path, capsys)(*arguments)
    assert (done.status, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert line.startswith(f"database 127.0.0.1:{port}/n can't be reached")
    assert "secret" not in line


@pytest.mark.parametrize("arguments", NEED_THE_DATABASE, ids=" ".join)
def test_a_server_without_schema_is_never_migrated_by_the_way(
    arguments: list[str], empty_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = Commands.on(empty_url, tmp_path, capsys)(*arguments)
    assert (done.status, done.out) == (1, "")
    assert done.err.endswith("has no schema: run `billingd db upgrade`\n")
    with Database(ConnectionSettings.from_url(empty_url)) as database, database.reading() as reader:
        assert current_revision(reader) is None


@pytest.mark.parametrize("arguments", [*NEED_THE_DATABASE, ["doctor"], ["status"]], ids=" ".join)
def test_no_command_takes_an_old_primary_for_the_database(
    arguments: list[str], shared_server: PostgresServer, database_url: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    billingd = Commands.on(database_url, tmp_path, capsys)
    with Database(shared_server.settings("postgres")) as database, database.reading() as reader:
        identifier = fetch_value(reader, "SELECT system_identifier FROM pg_control_system()")
    (tmp_path / "state").mkdir()
    seen = tmp_path / "state" / "database-seen"
    for known, refused in ((f"{identifier} 99 0\n", True), (f"{identifier} 1 0\n", False), ("5 99 0\n", False)):
        seen.write_text(known)
        done = billingd(*arguments)
        said = done.out + done.err
        assert ("timeline 99 was seen before: it is an old primary" in said) is refused, said
        assert seen.read_text() == known, "what was seen is the daemon's to say"
        if refused and done.err:
            assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)


def test_upgrade_makes_the_schema_and_is_harmless_again(
    empty_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    billingd = Commands.on(empty_url, tmp_path, capsys)
    assert billingd.process("db", "upgrade").out.endswith(f"now has the schema {expected_revision()}\n")
    again = billingd("db", "upgrade")
    assert (again.status, again.err) == (0, "")
    assert again.out.endswith(f"has the schema {expected_revision()}\n")
    assert "now" not in again.out
    assert billingd("invoices", "list", "--json").document == []


def test_a_refused_password_is_one_line_of_the_process(database_url: str, tmp_path: Path) -> None:
    start, _, end = database_url.rpartition("@")
    url = f"{start.rpartition(':')[0]}:wrong@{end}"
    done = Commands(tmp_path, database={"url": url}).process("invoices", "list")
    assert (done.status, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert "password" in line
    assert "wrong" not in line


def test_a_command_before_the_first_run_makes_the_embedded_database_and_stops_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    billingd = Commands(tmp_path, capsys)
    assert billingd("import", "master", BAD / "master.yaml").status == 0
    assert EmbeddedServer(tmp_path / "state").pid is None
    issued = billingd("issue", "--period", "2026-08")
    assert issued.out == "2026-08: 3 invoices made due, 0 were there\n"
    assert EmbeddedServer(tmp_path / "state").pid is None


def test_a_state_directory_in_use_is_one_line_that_says_by_whom(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StateLock(tmp_path / "state", "somebody's work"):
        done = Commands(tmp_path, capsys)("invoices", "list")
    assert done.status == 1
    assert "is in use by somebody's work, process" in done.err


def test_a_state_directory_that_can_not_be_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    done = Commands(tmp_path, capsys, state_dir=str(tmp_path / "file" / "state"))("invoices", "list")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"cannot use the state directory {tmp_path}/file/state (key state_dir): not a directory")
