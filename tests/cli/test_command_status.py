"""`billingd status`: what it says and how it ends, whatever is or isn't there to be asked."""

import json
import os
import pty
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from persistence import instances
from persistence.alarms import AlarmRecord, Severity, store
from persistence.connection.database import Database
from testkit.deployment import Deployment
from testkit.ports import free_port
from testkit.waiting import wait_until
from tests.cli.command_line import Commands
from tests.support.sample import ROOT

KEYS = "running well verdict instance since configuration database erp invoices waiting alarms tree"
MORE = "at periods oldest_seconds stuck unapproved pause"
AT = "2026-11-15T12:00:00Z"
ALARM = {
    "id": "a1", "code": "erp_unreachable", "key": "me", "severity": "major", "summary": "no answer", "count": 1,
    "raised_at": AT, "last_at": AT, "cleared_at": None, "acked_at": None, "context": {},
}  # fmt: skip
WELL = {
    "running": True, "well": True, "verdict": "well: 3 of 3 invoices are final", "instance": "me", "since": AT,
    "configuration": {"path": None, "sha256": None, "loaded_at": AT}, "database": {"state": "connected", "since": AT},
    "erp": {"state": "reachable", "breaker": "closed", "last_success_at": AT}, "invoices": {"registered": 3},
    "waiting": 0, "alarms": [],
    "tree": {"name": "root", "state": "up", "restarts": 0, "last_reason": None, "children": [
        {"name": "biller", "state": "up", "restarts": 2, "last_reason": "crashed", "children": []}]},
}  # fmt: skip
Make = Callable[..., Commands]


@pytest.fixture
def commands(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Make:
    """Makes the commands of an instance `me` that listens there."""

    def make(listen: str) -> Commands:
        return Commands.on(database_url, tmp_path, capsys, instance="me", ops={"listen": listen})

    return make


@contextmanager
def answering(document: Any, status: int = 200) -> Iterator[str]:
    """An endpoint on the loopback that answers every question so; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("change", "status", "nagios"),
    [
        ({}, 0, 0),
        ({"well": False, "alarms": [ALARM]}, 1, 1),
        ({"well": False, "alarms": [ALARM | {"severity": "critical"}]}, 1, 2),
        ({"running": False, "well": False}, 3, 2),
    ],
)
def test_the_exit_status_says_how_it_stands(commands: Make, change: dict[str, Any], status: int, nagios: int) -> None:
    with answering(WELL | change) as listen:
        billingd = commands(listen)
        assert billingd("status").status == status
        done = billingd("status", "--nagios")
        assert done.status == nagios
        word = ("OK", "WARNING", "CRITICAL")[nagios]
        assert done.out == f"BILLINGD {word} - well: 3 of 3 invoices are final | registered=3\n"


def test_people_see_the_verdict_first_then_the_alarms_and_the_tree(commands: Make) -> None:
    with answering(WELL | {"alarms": [ALARM]}) as listen:
        short, lines = (commands(listen)("status", *more).out.splitlines() for more in ([], ["--tree"]))
    assert lines[0] == WELL["verdict"]
    place = lines.index("  major erp_unreachable, since 2026-11-15 12:00:00Z")
    assert lines[place + 1 : place + 3] == ["      no answer", "      billingd alarms explain erp_unreachable"]
    assert lines[-2:] == ["root      up            0  -", "  biller  up            2  crashed"]
    assert lines[: len(short)] == short
    assert "its parts      2; biller up, 2 restarts (crashed)" in short


def test_a_watch_goes_on_until_ctrl_c_and_ends_as_the_last_look_did(commands: Make) -> None:
    with answering(WELL | {"well": False}) as listen:
        watching = subprocess.Popen(commands(listen).line("status", "--watch"), stdout=subprocess.PIPE, cwd=ROOT)
        assert watching.stdout is not None
        with watching.stdout as screens:
            for _ in range(2):
                assert next(line for line in screens if line.startswith(b"well: "))
            watching.send_signal(signal.SIGINT)
            assert watching.wait(20) == 1


def test_on_a_terminal_a_watch_draws_the_screen_anew(commands: Make) -> None:
    ours, theirs = pty.openpty()
    with answering(WELL) as listen:
        watching = subprocess.Popen(commands(listen).line("status", "--watch"), stdout=theirs, cwd=ROOT)
        os.close(theirs)
        shown = b""
        while b"all up" not in shown and b"its parts" not in shown:
            shown += os.read(ours, 65536)
        assert b"\x1b[?1049h" in shown, "the terminal's other screen, so that the first is there again afterwards"
        watching.send_signal(signal.SIGINT)
        with suppress(OSError):  # as a terminal says that nobody writes any more
            while os.read(ours, 65536):
                pass
        assert watching.wait(20) == 0
    os.close(ours)


@pytest.mark.parametrize("others", [["--nagios"], ["--json"], ["--json", "--nagios"]])
def test_one_form_at_a_time(commands: Make, others: list[str]) -> None:
    assert commands("off")("status", *others, *["--watch"][: 2 - len(others)]).status == 64


def test_json_is_the_daemons_document_as_it_is(commands: Make) -> None:
    with answering(WELL) as listen:
        assert commands(listen)("status", "--json").document == WELL


def test_nobody_there_is_3_with_the_time_since_when(commands: Make, database: Database) -> None:
    billingd = commands(f"127.0.0.1:{free_port()}")
    never = billingd("status", "--json")
    assert never.status == 3
    assert never.document.keys() == {*KEYS.split(), *MORE.split()}
    assert never.document["verdict"].endswith("never been seen in the database")
    incarnation = uuid.uuid4()
    with database.transaction() as connection:
        instances.register(connection, "me", incarnation, "1")
        instances.deregister(connection, "me", incarnation, "clean")
    done = billingd("status", "--json")
    assert (done.status, done.document["running"]) == (3, False)
    assert done.document["since"].endswith("Z")
    assert "(ended in order)" in done.document["verdict"]
    assert billingd("status", "--nagios").status == 2


def test_the_database_may_be_away_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = Commands(tmp_path, capsys)("status", "--json")
    assert (done.status, done.err) == (3, "")
    assert done.document["database"]["state"] == "the embedded server is not running"
    assert not (tmp_path / "state").exists(), "nothing is started or made"


def test_one_that_holds_the_port_and_keeps_silent_is_degraded_within_two_seconds(commands: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        billingd = commands(f"127.0.0.1:{silent.getsockname()[1]}")
        done = billingd("status", "--json")
        assert (done.status, done.document["running"], done.document["well"]) == (1, True, False)
        assert "within 2 s" in done.document["verdict"]


@pytest.mark.parametrize(("document", "status"), [({"hello": 1}, 200), (WELL, 404), ("text", 200)])
def test_a_stranger_on_the_port_is_no_daemon(commands: Make, document: Any, status: int) -> None:
    with answering(document, status) as listen:
        done = commands(listen)("status")
    assert done.status == 3
    assert "is not billingd" in done.out.splitlines()[0]


def test_with_the_endpoint_off_the_database_tells_what_it_can(commands: Make, database: Database) -> None:
    with database.transaction() as connection:
        instances.register(connection, "me", uuid.uuid4(), "1")
    billingd = commands("off")
    assert billingd("status").status == 0
    at = datetime(2026, 11, 15, tzinfo=UTC)
    with database.transaction() as connection:
        store(connection, AlarmRecord("a1", "erp_unreachable", "me", Severity.MAJOR, "away", 1, at, at, "me"))
    done = billingd("status", "--json")
    assert (done.status, [alarm["code"] for alarm in done.document["alarms"]]) == (1, ["erp_unreachable"])


def test_a_real_daemon_is_asked_on_its_socket_until_it_is_gone(tmp_path: Path, database_url: str) -> None:
    deployment = Deployment(tmp_path / "home", database_url=database_url)
    try:
        deployment.erp.start()
        deployment.daemon.start()
        assert wait_until(lambda: deployment.run("status").returncode == 0)
        document = deployment.json("status")
        assert set(KEYS.split()) <= document.keys()
        assert deployment.run("status").stdout.startswith("well: ")
        deployment.daemon.kill()
        gone = deployment.run("status", "--json")
        assert gone.returncode in (1, 3), "the sign of life in the database may be fresh still"
        assert json.loads(gone.stdout)["well"] is False
    finally:
        deployment.close()
