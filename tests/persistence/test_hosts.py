"""Several hosts in one URL: which is taken, how the time for connecting is shared, and when a session is given up."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from network.resolver import AddressInfo
from persistence.connection import opening, sockets
from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.errors import DatabaseFailed, DatabaseUnreachable
from testkit.ports import free_port
from testkit.postgres import PostgresServer
from tests.cli.command_line import Commands

READ_ONLY = ("ALTER SYSTEM SET default_transaction_read_only TO {}", "SELECT pg_reload_conf()")
INSERT = "INSERT INTO meters VALUES ('m', 'abb_b2x', '{L1}') ON CONFLICT DO NOTHING"


@pytest.fixture
def mute() -> Iterator[list[int]]:
    """Ports where connections are taken and nobody ever answers, as of a frozen server."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        yield [int(each.getsockname()[1]) for each in listeners]


def settings_of(server: PostgresServer, *ports: int, seconds: float = 5) -> ConnectionSettings:
    """Hosts at these ports of the loopback, with the server's own password."""
    hosts = tuple(("127.0.0.1", port) for port in ports)
    return replace(server.settings(), hosts=hosts, connect_timeout_seconds=seconds)


def port_of_session(database: Database) -> int:
    with database.transaction() as connection:
        return int(connection.execute(text("SELECT current_setting('port')")).scalar_one())


def insert_until_the_reload_is_noticed(database: Database) -> None:
    while True:
        with database.transaction() as connection:
            connection.execute(text(INSERT))


def test_a_url_names_hosts_in_order() -> None:
    url = "postgresql://ana:a@b@db-1,[2001:db8::1]:6000,10.0.0.3:5433/bills?target_session_attrs=read-write"
    settings = ConnectionSettings.from_url(url)
    assert settings.hosts == (("db-1", 5432), ("2001:db8::1", 6000), ("10.0.0.3", 5433))
    assert settings.where == "db-1:5432,2001:db8::1:6000,10.0.0.3:5433/bills"
    assert (settings.password, settings.any_server) == ("a@b", False)
    assert ConnectionSettings.from_url("postgresql://ana@db/bills?target_session_attrs=any").any_server


@pytest.mark.parametrize("hosts", ["a:b,c", "a,b:99999", "a,[::1", "a,b:-1"])
def test_a_wrong_host_among_several_is_refused(hosts: str) -> None:
    with pytest.raises(ValueError, match="host and port") as refused:
        ConnectionSettings.from_url(f"postgresql://ana:secret@{hosts}/bills")
    assert "secret" not in str(refused.value)


def test_only_attributes_that_are_supported_are_taken() -> None:
    with pytest.raises(ValueError, match="target_session_attrs has to be one of read-write, any"):
        ConnectionSettings.from_url("postgresql://ana@db/bills?target_session_attrs=standby")


def test_the_first_that_answers_is_taken(shared_server: PostgresServer) -> None:
    with Database(settings_of(shared_server, free_port(), shared_server.port)) as database:
        assert port_of_session(database) == shared_server.port


def test_silent_hosts_get_their_share_of_the_time_only(shared_server: PostgresServer, mute: list[int]) -> None:
    begun = time.monotonic()
    with Database(settings_of(shared_server, *mute, shared_server.port, seconds=3)) as database:
        assert port_of_session(database) == shared_server.port
    assert 1.5 < time.monotonic() - begun < 4


def test_silent_addresses_of_a_name_get_their_share_too_and_ipv6_comes_first(
    shared_server: PostgresServer, mute: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[socket.AddressFamily] = []
    addresses: list[AddressInfo] = [
        (socket.AF_INET, ("127.0.0.1", mute[0])),
        (socket.AF_INET, ("127.0.0.1", shared_server.port)),
        (socket.AF_INET6, ("::1", free_port(), 0, 0)),
    ]
    monkeypatch.setattr(sockets, "resolve", lambda *_: addresses)
    open_socket = sockets.open_socket

    def note(address: sockets.Address, seconds: float) -> socket.socket:
        assert not isinstance(address, Path)
        tried.append(address[0])
        return open_socket(address, seconds)

    monkeypatch.setattr(opening, "open_socket", note)
    begun = time.monotonic()
    with Database(replace(shared_server.settings(), hosts=(("db", 1), ("other", 1)), connect_timeout_seconds=4)) as db:
        assert port_of_session(db) == shared_server.port
    assert time.monotonic() - begun < 3, "the silent one has at most half of the first host's two seconds"
    assert tried == [socket.AF_INET6, socket.AF_INET, socket.AF_INET]


@pytest.mark.parametrize("kind", ["hosts", "addresses of a name"])
def test_what_was_silent_is_tried_last_until_it_answers(
    kind: str, shared_server: PostgresServer, mute: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen old primary costs its share of the time once, and not each session; two that take turns, too."""
    settings = settings_of(shared_server, mute[0], shared_server.port, seconds=2)
    if kind != "hosts":
        addresses: list[AddressInfo] = [(socket.AF_INET, host) for host in settings.hosts]  # type: ignore[misc]
        monkeypatch.setattr(sockets, "resolve", lambda *_: addresses)
        settings = replace(settings, hosts=(("db", 5432),))

    def seconds_to_open() -> float:
        begun = time.monotonic()
        with Database(settings) as database:
            assert port_of_session(database) == shared_server.port
        return time.monotonic() - begun

    assert seconds_to_open() >= 1
    assert [seconds_to_open() < 0.8 for _ in range(3)] == [True] * 3
    shared_server.freeze()
    try:
        for _ in range(2):  # the one that was silent before the last is tried first
            with Database(settings) as database, pytest.raises(DatabaseUnreachable):
                port_of_session(database)
    finally:
        shared_server.thaw()
    assert min(seconds_to_open() for _ in range(2)) < 0.8


def test_all_failures_are_told(shared_server: PostgresServer, mute: list[int]) -> None:
    closed = free_port()
    settings = settings_of(shared_server, closed, mute[0], seconds=1)
    with Database(settings) as database, pytest.raises(DatabaseUnreachable) as failed:
        port_of_session(database)
    assert f"127.0.0.1:{closed}/billingd can't be reached" in str(failed.value)
    assert f"127.0.0.1:{mute[0]}/billingd can't be reached: timed out" in str(failed.value)


def test_a_server_that_is_read_only_is_not_taken(server: PostgresServer, shared_server: PostgresServer) -> None:
    server.execute(*(each.format("on") for each in READ_ONLY))
    with Database(settings_of(server, server.port, shared_server.port)) as database:
        assert port_of_session(database) == shared_server.port
    with (
        Database(server.settings()) as database,
        pytest.raises(DatabaseUnreachable, match=r"takes no writes: its default_transaction_read_only is not off"),
    ):
        port_of_session(database)


def test_a_session_whose_server_became_read_only_is_given_up_and_the_name_resolved_anew(
    server: PostgresServer, shared_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = [server.port]
    monkeypatch.setattr(sockets, "resolve", lambda *_: [(socket.AF_INET, ("127.0.0.1", ports[-1]))])
    with Database(replace(server.settings(), hosts=(("db", 5432),))) as database:
        assert port_of_session(database) == server.port
        server.execute(*(each.format("on") for each in READ_ONLY))
        ports.append(shared_server.port)
        with pytest.raises(DatabaseFailed) as failed:
            insert_until_the_reload_is_noticed(database)
        assert failed.value.sqlstate == "25006"
        assert port_of_session(database) == shared_server.port


def test_a_server_that_is_too_old_is_refused_in_one_line(
    shared_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every version is older than this one: run, db upgrade and any other command say so, and no more."""
    monkeypatch.setattr(opening, "OLDEST_SERVER", 99)
    erp = {"base_url": "http://127.0.0.1:9/api/v1"}
    billingd = Commands.on(shared_server.url(), tmp_path, capfd, erp=erp)
    for command in ("run", "db upgrade", "invoices list"):
        done = billingd(*command.split())
        assert (done.status, done.out) == (1, ""), command
        assert re.search(r"PostgreSQL \d+\.\d+ .*is too old: use 99 or later\n\Z", done.err), done.err
        assert "Traceback" not in done.err
