"""Through PgBouncer with Debian's configuration: pooling by session works, any other is noticed and refused."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.errors import DatabaseFailed, ServerUnsuitable
from persistence.connection.statements import notify
from persistence.instances import try_instance_lock
from testkit.postgres import PostgresServer
from tests.support.pgbouncer import pgbouncer

REFUSED = r"a pooler lends this session's backend to others .* pool_mode = session"


@contextmanager
def pooled(server: PostgresServer, url: str, home: Path, **more: object) -> Iterator[ConnectionSettings]:
    with pgbouncer(home, server, **more) as port:
        yield ConnectionSettings.from_url(url.replace(f":{server.port}/", f":{port}/"))


def test_a_pool_by_session_keeps_all_that_a_session_has(
    shared_server: PostgresServer, database_url: str, tmp_path: Path
) -> None:
    with pooled(shared_server, database_url, tmp_path / "pool") as settings, ExitStack() as stack:
        first, second = (stack.enter_context(Database(settings, listen=True)) for _ in range(2))
        first.refuse_shared_backend()
        for round_number in range(3):
            with first.transaction() as connection, second.transaction() as other:
                assert try_instance_lock(connection, "one")
                assert not try_instance_lock(other, "one")
                assert connection.execute(text("SHOW bytea_output")).scalar_one() == "hex"
                assert other.execute(text("SHOW search_path")).scalar_one() == "public, pg_temp"
                notify(connection, str(round_number))
            assert second.notifications(wait_seconds=10) == [str(round_number)]


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("round_robin", [0, 1])
def test_another_pool_is_refused(
    mode: str, round_robin: int, shared_server: PostgresServer, database_url: str, tmp_path: Path
) -> None:
    more = {"pool_mode": mode, "server_round_robin": round_robin}
    with pooled(shared_server, database_url, tmp_path / "pool", **more) as settings, ExitStack() as stack:
        for _ in range(3):  # whatever the pool has in store by then
            database = stack.enter_context(Database(settings))
            with pytest.raises(ServerUnsuitable, match=REFUSED):
                database.refuse_shared_backend()
            if mode == "statement":
                with (
                    Database(settings) as unchecked,
                    pytest.raises(DatabaseFailed, match="statement pooling mode"),
                    unchecked.transaction(),
                ):
                    pass


def test_a_daemon_at_work_notices_that_its_backend_was_lent_out(
    shared_server: PostgresServer, database_url: str, tmp_path: Path
) -> None:
    with (
        pooled(shared_server, database_url, tmp_path / "pool", pool_mode="transaction") as settings,
        Database(settings) as database,
        Database(settings) as other,
    ):
        assert database.run(lambda connection: try_instance_lock(connection, "one"))
        with other.transaction() as theirs:
            theirs.execute(text("SELECT 1"))
            with pytest.raises(ServerUnsuitable, match=REFUSED):
                database.run(lambda connection: try_instance_lock(connection, "one"))


def test_a_lost_listen_is_noticed_and_the_session_given_up(database_url: str) -> None:
    """A proxy that resets what a session holds, as DISCARD ALL does, leaves the backend its number."""
    with Database(ConnectionSettings.from_url(database_url), listen=True) as database:
        assert database.run(lambda connection: try_instance_lock(connection, "one"))
        database.run_alone("DISCARD ALL")
        with pytest.raises(ServerUnsuitable, match=r"LISTEN was lost .* database\.listen: off"):
            database.run(lambda connection: try_instance_lock(connection, "one"))
        assert database.run(lambda connection: try_instance_lock(connection, "one"))
        database.run(lambda connection: notify(connection, "again"))
        assert database.notifications(wait_seconds=10) == ["again"]


def test_the_server_itself_is_no_pooler(database: Database) -> None:
    database.refuse_shared_backend()
    with database.transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")) \
            .scalar_one() == 1  # fmt: skip


def test_without_listen_every_ten_seconds_may_be_a_nudge(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    with Database(ConnectionSettings.from_url(database_url)) as database:
        monkeypatch.setattr("persistence.connection.database.time.monotonic", lambda: now[0])
        found = []
        for _ in range(5):
            found.append(database.nudged())
            now[0] += 4
        assert found == [True, False, False, True, False]
