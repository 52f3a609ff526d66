"""A PgBouncer with Debian's own configuration file in front of a test's server."""

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from persistence.embedded.unprivileged import prepare, run_as
from testkit.ports import free_port
from testkit.postgres import PostgresServer
from testkit.waiting import wait_until

_DEBIANS = Path("/etc/pgbouncer/pgbouncer.ini")


@contextmanager
def pgbouncer(home: Path, server: PostgresServer, **more: object) -> Iterator[int]:
    """The port of a PgBouncer before this server's databases; skips the test where there is none.

    What is changed in Debian's file is where things are, and `more`.
    """
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
    if program is None or not _DEBIANS.exists():
        pytest.skip("this machine has no PgBouncer")
    home.mkdir()
    prepare(home)
    port = free_port()
    places = {"logfile": home / "log", "pidfile": home / "pid", "unix_socket_dir": home, "listen_port": port}
    configuration = _DEBIANS.read_text("utf-8").replace(
        "[databases]", f"[databases]\n* = host=127.0.0.1 port={server.port}"
    )
    for name, value in {**places, "auth_file": home / "users", **more}.items():
        configuration = re.sub(rf"^;?{name} =.*\n", "", configuration, flags=re.MULTILINE)
        configuration = configuration.replace("[pgbouncer]", f"[pgbouncer]\n{name} = {value}")
    (home / "ini").write_text(configuration, "utf-8")
    # As the documentation says: the server's own SCRAM secrets, so that no password is kept or sent.
    with server.session("postgres") as connection:
        secrets = connection.execute(text("SELECT rolname, rolpassword FROM pg_authid WHERE rolpassword <> ''")).all()
    (home / "users").write_text("".join(f'"{name}" "{secret}"\n' for name, secret in secrets), "utf-8")
    process = subprocess.Popen(**run_as([program, str(home / "ini")], home), stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port))
        yield port
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
