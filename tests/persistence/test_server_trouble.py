"""The server's own trouble: each comes out with its own words and with what to do."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.errors import DatabaseFailed, DatabaseUnreachable, PersistenceError
from persistence.connection.translation import _ADVICE
from testkit.postgres import VOLATILE, PostgresServer
from testkit.waiting import wait_until
from tests.support.superuser import as_superuser

DISK_MEGABYTES = 90
FILLING = "INSERT INTO filling SELECT repeat(md5(n::text), 30) FROM generate_series(1, 5000) AS n"


@pytest.mark.parametrize("sqlstate", _ADVICE)
def test_what_the_server_says_comes_with_what_to_do(sqlstate: str, database: Database) -> None:
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'trouble' USING ERRCODE = '{sqlstate}'; END $$"
    with pytest.raises(DatabaseFailed) as failed, database.transaction() as connection:
        connection.execute(text(raising))
    assert f"trouble: {_ADVICE[sqlstate]} (SQLSTATE {sqlstate})" in str(failed.value)
    assert failed.value.sqlstate == sqlstate
    assert "\n" not in str(failed.value)


def test_the_connection_limit_of_the_role(database: Database, shared_server: PostgresServer) -> None:
    as_superuser(database, "CREATE ROLE narrow LOGIN PASSWORD 'narrow' CONNECTION LIMIT 1")
    url = f"postgresql://narrow:narrow@127.0.0.1:{shared_server.port}/{database.settings.database}"
    try:
        with (
            Database(ConnectionSettings.from_url(url)) as first,
            Database(ConnectionSettings.from_url(url)) as second,
            first.reading(),
            pytest.raises(DatabaseUnreachable, match=r'for role "narrow".*CONNECTION LIMIT'),
            second.reading(),
        ):
            pass
    finally:
        as_superuser(database, "DROP ROLE narrow")


def test_more_tables_than_there_are_locks_for(cluster: Path, tmp_path: Path) -> None:
    few = {"max_locks_per_transaction": "10", "max_connections": "10"}
    server = PostgresServer.copy(cluster, tmp_path / "server", VOLATILE | few)
    try:
        many = "DO $$ BEGIN FOR n IN 1..20000 LOOP PERFORM pg_advisory_xact_lock(n); END LOOP; END $$"
        with Database(server.settings()) as database:
            with pytest.raises(DatabaseFailed, match=r"out of shared memory: raise .*max_locks_per_transaction"):
                database.run_alone(many)
            with database.reading():
                pass
    finally:
        server.destroy()


@pytest.fixture(params=["base", "pg_wal"])
def on_a_small_disk(request: pytest.FixtureRequest, cluster: Path, tmp_path: Path) -> Iterator[PostgresServer]:
    """A server one of whose folders is on a small file system: that of the data, or that of the WAL."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m,mode=0755", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("no permission to mount a small file system here")
    try:
        server = PostgresServer.copy(cluster, tmp_path / "server", VOLATILE | {"max_wal_size": "10GB"})
        server.stop()
        folder = server.home / "postgres" / "data" / request.param
        subprocess.run(["mv", str(folder), str(disk / "folder")], check=True)  # it keeps the owner
        folder.symlink_to(disk / "folder")
        server.start()
        yield server
        server.destroy()
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def write_until_it_fails(server: PostgresServer) -> None:
    with Database(server.settings()) as database:
        while True:
            with database.transaction() as connection:
                connection.execute(text(FILLING))


def test_a_disk_that_is_full_is_named_and_once_there_is_room_it_goes_on(
    on_a_small_disk: PostgresServer, tmp_path: Path
) -> None:
    """Without room for data the statement fails; without room for the WAL the server ends itself, and all sessions."""
    server = on_a_small_disk
    server.execute("CREATE TABLE filling (text text)")
    with pytest.raises(PersistenceError, match=r"make room on the server's disk|can't be reached|crashed"):
        write_until_it_fails(server)
    assert "No space left on device" in server.log_path.read_text("utf-8", "replace")
    subprocess.run(["mount", "-o", f"remount,size={8 * DISK_MEGABYTES}m", str(tmp_path / "disk")], check=True)
    with Database(server.settings()) as database:
        wait_until(lambda: takes_a_row(server, database))


def takes_a_row(server: PostgresServer, database: Database) -> bool:
    if server.pid is None:
        server.start()
    try:
        with database.transaction() as connection:
            connection.execute(text("INSERT INTO filling VALUES ('x')"))
    except PersistenceError:
        return False
    return True
