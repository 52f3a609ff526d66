"""The TLS modes of a database URL, against a server that is behind TLS and one that has none."""

import select
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.errors import CredentialsRefused, DatabaseUnreachable
from testkit.postgres import PostgresServer

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for the name localhost, signed by itself, with its key in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return folder / "certificate.pem"


@pytest.fixture
def behind_tls(database_url: str, certificate: Path) -> Iterator[ConnectionSettings]:
    """The settings of a database behind a relay that speaks TLS as PostgreSQL does, for one connection."""
    settings = ConnectionSettings.from_url(database_url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=relay, args=(listener, context, port_of(settings)))
        thread.start()
        yield replace(settings, hosts=(("localhost", int(listener.getsockname()[1])),))
        thread.join()


def port_of(settings: ConnectionSettings) -> int:
    (host,) = settings.hosts
    assert isinstance(host, tuple)
    return host[1]


def relay(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    listener.settimeout(10)
    client, _ = listener.accept()
    assert client.recv(8).endswith(b"\x04\xd2\x16\x2f")  # the request for TLS
    client.sendall(b"S")
    try:
        with (
            context.wrap_socket(client, server_side=True) as inside,
            socket.create_connection(("127.0.0.1", port)) as outside,
        ):
            pass_on(inside, outside)
    except OSError:
        return  # the client didn't like the certificate, or is gone


def pass_on(inside: ssl.SSLSocket, outside: socket.socket) -> None:
    while True:
        ready = [inside] if inside.pending() else select.select([inside, outside], [], [], 10)[0]
        if not ready:
            return
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            (outside if source is inside else inside).sendall(data)


def ask(settings: ConnectionSettings) -> int:
    with Database(settings) as database, database.transaction() as connection:
        return int(connection.execute(text("SELECT length(repeat('x', 1000000))")).scalar_one())


@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_tls_is_used_unverified(behind_tls: ConnectionSettings, mode: str) -> None:
    assert ask(replace(behind_tls, tls_mode=mode)) == 1_000_000


def test_the_right_certificate_and_name_pass(behind_tls: ConnectionSettings, certificate: Path) -> None:
    settings = replace(behind_tls, tls_mode="verify-full", tls_root_certificate=str(certificate))
    assert ask(settings) == 1_000_000


def test_another_name_than_the_certificates_is_refused(behind_tls: ConnectionSettings, certificate: Path) -> None:
    hosts = (("127.0.0.1", port_of(behind_tls)),)
    settings = replace(behind_tls, hosts=hosts, tls_mode="verify-full", tls_root_certificate=str(certificate))
    with pytest.raises(DatabaseUnreachable, match="certificate verify failed"):
        ask(settings)


def test_a_certificate_nobody_vouches_for_is_refused(behind_tls: ConnectionSettings) -> None:
    with pytest.raises(DatabaseUnreachable, match="certificate verify failed"):
        ask(replace(behind_tls, tls_mode="verify-full"))


def test_a_call_over_tls_is_unblocked_too(behind_tls: ConnectionSettings) -> None:
    started = threading.Event()
    with Database(behind_tls) as database:

        def unblock() -> None:
            started.wait(10)
            database.unblock()

        def work() -> None:
            with database.transaction() as connection:
                connection.execute(text("SELECT 1"))
                started.set()
                connection.execute(text("SELECT pg_sleep(20)"))

        unblocker = threading.Thread(target=unblock)
        unblocker.start()
        with pytest.raises(DatabaseUnreachable):
            work()
        unblocker.join()


def test_a_server_without_tls_is_refused_only_where_it_is_required(database_url: str) -> None:
    settings = ConnectionSettings.from_url(database_url)
    assert [ask(replace(settings, tls_mode=mode)) for mode in ("prefer", "disable")] == [1_000_000] * 2
    with pytest.raises(DatabaseUnreachable, match="refuses SSL"):
        ask(replace(settings, tls_mode="require"))


@pytest.fixture
def weak_server(server: PostgresServer) -> Callable[[str], ConnectionSettings]:
    """The settings of a server that asks for the password by another method than SCRAM."""

    def weaken(method: str) -> ConnectionSettings:
        server.execute(
            "SET password_encryption TO md5; ALTER ROLE billingd PASSWORD '" + (server.settings().password or "") + "'"
        )
        (rules,) = server.home.rglob("pg_hba.conf")
        rules.write_text(f"host all all 127.0.0.1/32 {method}\nlocal all all trust\n")
        settings = server.settings()
        server.stop()
        server.start()
        return settings

    return weaken


@pytest.mark.parametrize("method", ["password", "md5"])
def test_a_password_is_not_sent_unprotected_unless_it_is_allowed(
    method: str, weak_server: Callable[[str], ConnectionSettings]
) -> None:
    settings = weak_server(method)
    with pytest.raises(CredentialsRefused, match=r"clear text or by MD5, and it was not sent.*password_exchange"):
        ask(settings)
    assert ask(replace(settings, scram_only=False)) == 1_000_000
