"""The fake ERP as a process: it says where it listens, and its book outlives a kill."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from altibiz.fake.ledger import Ledger
from billing.erp_answers import OutcomeKind
from tests.support.altibiz_samples import INVOICE, TOTAL, Clock, client_of, invoice_id, offer_body, offered

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
from altibiz.fake.server import serve
serve(ledger_path=sys.argv[1])
"""


@contextmanager
def process(ledger: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-c", PROGRAM, str(ledger)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stderr is not None
            said = running.stderr.readline()
            assert said.startswith("listening on http://127.0.0.1:")
            yield running, said.removeprefix("listening on ").strip()
        finally:
            running.kill()


def test_what_it_answered_it_still_knows_after_a_kill(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    with process(ledger) as (running, url):
        client = client_of(url)
        before = [
            client.offer(invoice_id(number), offer_body(invoice_id(number)), TOTAL).booking for number in range(20)
        ]
        running.kill()
        running.wait(10)
    with ledger.open("ab") as file:
        file.write(b'{"kind": "booked", "id": "half a li')
    with process(ledger) as (_, url):
        client = client_of(url)
        after = [client.ask(invoice_id(number), TOTAL).booking for number in range(20)]
        assert None not in before
        assert before == after
        assert client.offer(invoice_id(0), offer_body(invoice_id(0)), TOTAL).status == 200
        new = client.offer(INVOICE.replace("0007", "0099"), offer_body("NU-0099.2026-10.1"), TOTAL).booking
        assert new is not None
        assert new.bill_id == "ALT-000021"
    lines = [json.loads(line) for line in ledger.read_text("utf-8").splitlines()]
    kinds = [line["kind"] for line in lines]
    assert (kinds.count("booked"), kinds.count("verdict"), kinds.count("offered-again")) == (21, 21, 1)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_ends_it_though_requests_hang(tmp_path: Path, sent: signal.Signals) -> None:
    with process(tmp_path / "ledger.jsonl") as (running, url):
        client = client_of(url, read_timeout_seconds=0.2)
        control = url.replace("/api/v1", "/control/faults")
        httpx.post(control, json={"kind": "hang"}, trust_env=False).raise_for_status()
        assert client.offer(INVOICE, offer_body(), TOTAL).kind is OutcomeKind.UNREACHABLE
        os.kill(running.pid, sent)
        assert running.wait(10) == 0


def test_the_ledger_keeps_an_open_verdict_and_its_time(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "ledger.jsonl"
    first = Ledger(path, clock)
    first.book(INVOICE, offered(), initiated_seconds=60, abort_reason="no such project")
    first.offered_again(first.all()[0], 200)
    first.close()
    clock.advance(30)
    second = Ledger(path, clock)
    entry = second.find(INVOICE)
    assert entry is not None
    assert entry.as_booking()["state"] == "initiated"
    assert second.offers[INVOICE] == 2
    clock.advance(30)
    assert second.all()[0].as_booking()["abort_reason"] == "no such project"
    second.close()
    third = Ledger(path, Clock())
    assert third.all()[0].as_booking()["state"] == "aborted"
    third.close()


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text('{"kind": "shopping"}\n')
    with pytest.raises(ValueError, match="not a ledger"):
        Ledger(path, Clock())
