"""`billingd fake-altibiz` as a process: where it listens, its token, its good end and what it can't start with."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from testkit.ports import free_port
from tests.cli.command_line import Commands
from tests.support.sample import ROOT

pytestmark = pytest.mark.slow


@contextmanager
def running(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            yield process, process.stderr.readline().removeprefix("listening on ").strip()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop_and_that_is_success(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    command = Commands(tmp_path).line("fake-altibiz", "--port", str(port), "--ledger", tmp_path / "ledger.jsonl")
    with running(command) as (process, url):
        assert url == f"http://127.0.0.1:{port}/api/v1"
        assert httpx.get(f"{url}/network-user-invoices").json() == {"bookings": [], "next": None}
        process.send_signal(number)
        assert process.wait(20) == 0
    assert (tmp_path / "ledger.jsonl").exists()


def test_a_token_is_asked_for_where_one_is_given(tmp_path: Path) -> None:
    with running(Commands(tmp_path).line("fake-altibiz", "--port", "0", "--token", "geheim")) as (_, url):
        asked = f"{url}/network-user-invoices"
        assert httpx.get(asked).status_code == 401
        assert httpx.get(asked, headers={"Authorization": "Bearer geheim"}).status_code == 200


def test_a_port_or_a_ledger_that_can_not_be_had_is_one_line(tmp_path: Path) -> None:
    billingd = Commands(tmp_path)
    no_ledger = tmp_path / "ledger.jsonl"
    no_ledger.write_text('{"a": 1}\n')
    for arguments, reason in (
        (["--ledger", str(no_ledger)], "is not a ledger of its bookings\n"),
        (["--ledger", str(tmp_path / "none" / "ledger")], "no such file or directory\n"),
    ):
        done = billingd.process("fake-altibiz", "--port", "0", *arguments)
        assert (done.status, done.out) == (1, "")
        assert done.err.startswith("cannot be the ERP: ")
        assert done.err.endswith(reason)
    with running(billingd.line("fake-altibiz", "--port", "0")) as (_, url):
        port = url.split(":")[2].split("/")[0]
        taken = billingd.process("fake-altibiz", "--port", port)
    assert (taken.status, taken.err) == (1, f"cannot be the ERP: port {port}: address already in use\n")
