"""Every parser of foreign bytes, with mutated ones: no crash, no hang, memory bounded; 100,000 each in `make fuzz`."""

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from alarming.alarm import Now
from alarming.conditions import ConditionActive
from alarming.dispatcher import AlarmDispatcher
from alarming.spool import Spool
from altibiz.outcomes import Page
from billing.erp_answers import Outcome
from billing.foreign_text import steers
from config.load import DEFAULT_FILE, ConfigurationRejected, load
from persistence.master_file import read_master
from persistence.readings.file import RowStream
from tests.support.altibiz_samples import INVOICE, TOTAL, booking, client_of, read_request
from tests.support.fuzzing import TIMEOUT_SECONDS, fuzz
from tests.support.sample import BAD

AT = datetime(2026, 11, 25, tzinfo=UTC)

Parser = Callable[[bytes], object]


@contextmanager
def configuration(folder: Path) -> Iterator[tuple[list[bytes], Parser]]:
    path = folder / "billingd.yaml"

    def parse(content: bytes) -> None:
        path.write_bytes(content)
        with suppress(ConfigurationRejected):
            load(path, {})

    rules = b'alarms:\n  rules:\n    - {pattern: "disk (?P<disk>.*) full", code: disk_full, key: "{disk}"}\n'
    url = b"database: {url: 'postgresql://u:p%40@db.example:5432,[::1]/n?sslmode=verify-full'}\n"
    listen = b"ops: {listen: '[::1]:9464'}\nerp: {base_url: 'https://erp.example/api', retry: {max_seconds: 3}}\n"
    keys = [line for line in DEFAULT_FILE.read_text().splitlines() if "#" not in line]
    yield ["\n".join(keys[:20]).encode(), rules, url + listen], parse


@contextmanager
def master_data(folder: Path) -> Iterator[tuple[list[bytes], Parser]]:
    path = folder / "master.yaml"

    def parse(content: bytes) -> None:
        path.write_bytes(content)
        master = read_master(path)
        assert all(text.startswith(f"{path}:") for _, text in master.problems)
        assert master.problems or not steers(str([entry.values for each in master.entries.values() for entry in each]))

    whole = yaml.safe_load((BAD / "master.yaml").read_bytes())
    part = {name: entries[:2] for name, entries in whole.items()}
    yield [yaml.safe_dump(part, allow_unicode=True).encode(), json.dumps(part).encode()], parse


@contextmanager
def readings(folder: Path) -> Iterator[tuple[list[bytes], Parser]]:
    path = folder / "readings.csv"
    plain = b"".join(gzip.decompress((BAD / "readings-2026-08.csv.gz").read_bytes()).splitlines(keepends=True)[:5])

    def parse(content: bytes) -> None:
        path.write_bytes(content)
        rows = RowStream(path)
        given = b"".join(rows)
        assert given.count(b"\n") == rows.rows
        assert rows.problem is not None or rows.rows > 0

    yield [plain, gzip.compress(plain, mtime=0)], parse


@contextmanager
def answers_of_the_erp(folder: Path) -> Iterator[tuple[list[bytes], Parser]]:
    answer = b""

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(5)
                read_request(connection)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

    def parse(content: bytes) -> None:
        nonlocal answer
        answer = content
        outcome = client.ask(INVOICE, TOTAL)
        assert isinstance(outcome, Outcome)
        assert outcome.detail.isprintable()
        assert outcome.booking is None or (outcome.booking.bill_id or "").isprintable()
        assert isinstance(client.page(limit=2), Outcome | Page)

    def http(content: bytes, status: str = "200 OK") -> bytes:
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nRetry-After: 3\r\nContent-Length: "
        return head.encode() + str(len(content)).encode() + b"\r\n\r\n" + content

    page, problem = b'{"bookings": [' + booking() + b'], "next": null}', b'{"title": "no", "detail": "not now"}'
    samples = [http(booking()), http(page), http(problem, "503 Busy")]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        client = client_of(f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1")
        yield samples, parse
        client.close()
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def lines_of_the_spool(folder: Path) -> Iterator[tuple[list[bytes], Parser]]:
    path = folder / "alarms.jsonl"

    def dispatcher() -> AlarmDispatcher:
        return AlarmDispatcher("here", Spool(path), lambda: Now(1.0, AT))

    first = dispatcher()
    first.open()
    for code in ("erp_error", "disk_full"):
        first.report(ConditionActive(code, "it is", context={"a": 1}, immediately=True))
    sample = path.read_bytes()

    def parse(content: bytes) -> None:
        path.write_bytes(content)
        opened = dispatcher()
        opened.open()
        opened.report(ConditionActive("erp_error", "again", immediately=True))
        assert "erp_error" in {record.code for record in opened.register.standing()}
        opened.unstored()

    yield [sample], parse


PARSERS = (
    configuration, master_data, readings, answers_of_the_erp, lines_of_the_spool
)  # fmt: skip


@pytest.mark.timeout(TIMEOUT_SECONDS)
@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
def test_no_bytes_crash_hang_or_bloat_a_parser(parser: Any, tmp_path: Path) -> None:
    with parser(tmp_path) as (samples, parse):
        fuzz(samples, parse)
