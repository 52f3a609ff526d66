"""What each fault of a real server comes out as, and that the next transaction works once it is gone."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from sqlalchemy import Connection, text

from persistence.connection.database import Database
from persistence.connection.errors import (
    CommitUnknown,
    CredentialsRefused,
    DatabaseFailed,
    DatabaseUnreachable,
    PersistenceError,
)
from testkit.ports import free_port
from testkit.postgres import PostgresServer
from testkit.waiting import becomes_true

INSERT = "INSERT INTO meters VALUES ('m', 'abb_b2x', '{L1}')"


@pytest.fixture
def away(server: PostgresServer) -> Iterator[Database]:
    """A Database on the test's own server, with short limits, that has been connected once."""
    settings = replace(server.settings(), connect_timeout_seconds=1, statement_timeout_seconds=1)
    with Database(settings) as database:
        run(database)
        yield database


def run(database: Database, *statements: str) -> None:
    with database.transaction() as connection:
        for statement in statements or ("SELECT 1",):
            connection.execute(text(statement))


def count_meters(server: PostgresServer) -> int:
    with Database(server.settings()) as database, database.transaction() as connection:
        return int(connection.execute(text("SELECT count(*) FROM meters")).scalar_one())


@pytest.mark.parametrize("mode", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_a_stopped_server_is_unreachable_until_it_is_back(
    server: PostgresServer, away: Database, mode: signal.Signals
) -> None:
    server.stop(mode)
    for _ in range(2):
        with pytest.raises(DatabaseUnreachable) as unreachable:
            run(away)
        assert f"127.0.0.1:{server.port}/billingd" in str(unreachable.value)
    server.start()
    run(away)


@pytest.mark.parametrize("mode", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_a_server_stopped_within_a_transaction_fails_it(
    server: PostgresServer, away: Database, mode: signal.Signals
) -> None:
    def write() -> None:
        with away.transaction() as connection:
            connection.execute(text(INSERT))
            server.stop(mode)
            connection.execute(text("SELECT 1"))

    with pytest.raises(PersistenceError) as failed:
        write()
    # The fast shutdown says good-bye, as pg_terminate_backend does.
    assert isinstance(failed.value, DatabaseFailed if mode == signal.SIGINT else DatabaseUnreachable)
    server.start()
    assert count_meters(server) == 0
    run(away)


def test_a_frozen_server_keeps_nobody_waiting(server: PostgresServer, away: Database) -> None:
    server.freeze()
    begun = time.monotonic()
    with pytest.raises(DatabaseUnreachable, match="timed out"):
        run(away)
    assert 5 < time.monotonic() - begun < 9  # the statement's limit and the grace
    begun = time.monotonic()
    with pytest.raises(DatabaseUnreachable, match="timed out"):
        run(away)
    assert time.monotonic() - begun < 3  # connecting
    server.thaw()
    run(away)


def test_a_commit_whose_answer_is_lost_is_unknown(server: PostgresServer, away: Database) -> None:
    def write() -> None:
        with away.transaction() as connection:
            connection.execute(text(INSERT))
            server.freeze()

    with pytest.raises(CommitUnknown):
        write()
    server.thaw()
    run(away)


def test_a_session_that_ends_before_its_commit_has_not_committed(server: PostgresServer, away: Database) -> None:
    def write() -> None:
        with away.transaction() as connection:
            connection.execute(text(INSERT))
            server.terminate_backends()

    with pytest.raises(CommitUnknown):  # the server said that the session ends, not whether it committed
        write()
    assert count_meters(server) == 0
    run(away)


def test_a_terminated_backend_fails_the_statement_only(server: PostgresServer, away: Database) -> None:
    started = threading.Event()

    def terminate() -> None:
        started.wait(10)
        becomes_true(server.terminate_backends, within_seconds=10)

    killer = threading.Thread(target=terminate)
    killer.start()
    with pytest.raises(DatabaseFailed) as failed:
        run_slowly(away, started)
    killer.join()
    assert failed.value.sqlstate == "57P01"
    run(away)


def run_slowly(database: Database, started: threading.Event) -> None:
    with database.transaction() as connection:
        connection.execute(text("SELECT 1"))
        started.set()
        connection.execute(text("SELECT pg_sleep(20)"))


def test_a_session_terminated_while_idle_is_replaced_unseen(server: PostgresServer, away: Database) -> None:
    assert server.terminate_backends() == 1
    run(away)


def test_unblock_ends_a_call_of_another_thread(server: PostgresServer) -> None:
    started = threading.Event()
    with Database(server.settings()) as database:

        def unblock() -> None:
            started.wait(10)
            database.unblock()

        unblocker = threading.Thread(target=unblock)
        unblocker.start()
        begun = time.monotonic()
        with pytest.raises(DatabaseUnreachable):
            run_slowly(database, started)
        unblocker.join()
        assert time.monotonic() - begun < 3
        run(database)


def test_nobody_listens_at_the_port(server: PostgresServer) -> None:
    database = Database(replace(server.settings(), hosts=(("127.0.0.1", free_port()),)))
    with pytest.raises(DatabaseUnreachable, match="refused"):
        run(database)


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"", b"R"])
def test_something_else_listens_at_the_port(server: PostgresServer, says: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            sock, _ = listener.accept()
            sock.sendall(says)
            with contextlib.suppress(OSError):  # the client may have had enough
                sock.shutdown(socket.SHUT_WR)
                sock.recv(1000)
            sock.close()

        other = threading.Thread(target=answer)
        other.start()
        port = int(listener.getsockname()[1])
        settings = replace(server.settings(), hosts=(("127.0.0.1", port),), connect_timeout_seconds=1)
        with Database(settings) as database, pytest.raises(DatabaseUnreachable):
            run(database)
        other.join()


def test_a_name_that_is_not_resolved(server: PostgresServer) -> None:
    database = Database(replace(server.settings(), hosts=(("no-such-host.invalid", 5432),)))
    with pytest.raises(DatabaseUnreachable, match=r"no-such-host\.invalid"):
        run(database)


@pytest.mark.parametrize("wrong", [{"password": "wrong"}, {"password": None}, {"user": "nobody"}])
def test_wrong_credentials_are_refused(server: PostgresServer, wrong: dict[str, str | None]) -> None:
    settings = replace(server.settings(), **wrong)  # type: ignore[arg-type]  # which of the fields it is
    with Database(settings) as database, pytest.raises(CredentialsRefused) as refused:
        run(database)
    assert "wrong" not in str(refused.value)


def test_a_database_that_does_not_exist(server: PostgresServer) -> None:
    with Database(server.settings("nothing")) as database, pytest.raises(DatabaseFailed) as failed:
        run(database)
    assert failed.value.sqlstate == "3D000"


def test_used_up_connection_slots_are_no_connection(server: PostgresServer) -> None:
    with ExitStack() as open_ones:

        def use_up() -> None:
            for _ in range(200):
                database = open_ones.enter_context(Database(server.settings()))
                run(database)

        with pytest.raises(DatabaseUnreachable, match=r"too many clients|connection slots"):
            use_up()
    with Database(server.settings()) as database:
        deadline = time.monotonic() + 10
        while True:
            try:
                return run(database)
            except DatabaseUnreachable:
                assert time.monotonic() < deadline


def lock_timeout(connection: Connection, other: Database) -> None:
    with other.transaction() as second:
        second.execute(text("LOCK TABLE meters"))
        connection.execute(text(INSERT))


def read_only(connection: Connection, other: Database) -> None:
    connection.execute(text("SET TRANSACTION READ ONLY"))
    connection.execute(text(INSERT))


def missing_table(connection: Connection, other: Database) -> None:
    connection.execute(text("SELECT * FROM nothing"))


def dropped_privilege(connection: Connection, other: Database) -> None:
    run(other, "CREATE ROLE guest")
    connection.execute(text("SET LOCAL ROLE guest"))
    connection.execute(text(INSERT))


@pytest.mark.parametrize(
    ("fault", "sqlstate"),
    [(lock_timeout, "55P03"), (read_only, "25006"), (missing_table, "42P01"), (dropped_privilege, "42501")],
)
def test_a_statement_that_throws_fails_its_transaction_only(
    server: PostgresServer, fault: Callable[[Connection, Database], None], sqlstate: str
) -> None:
    settings = replace(server.settings(), lock_timeout_seconds=0.2)
    with Database(settings) as database, Database(settings) as other:

        def work() -> None:
            with database.transaction() as connection:
                fault(connection, other)

        with pytest.raises(DatabaseFailed) as failed:
            work()
        assert failed.value.sqlstate == sqlstate
        assert f"SQLSTATE {sqlstate}" in str(failed.value)
        run(database, INSERT)
