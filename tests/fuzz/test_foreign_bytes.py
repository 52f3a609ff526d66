"""Every parser of foreign bytes, with mutated ones: no crash, no hang, memory bounded; 100,000 each in `make fuzz`."""

import gzip
import json
import logging
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st

from alarming.alarm import Now
from alarming.conditions import ConditionActive
from alarming.dispatcher import AlarmDispatcher
from alarming.spool import Spool
from altibiz.outcomes import Page
from billing.erp_answers import Outcome
from billing.foreign_text import steers
from config.default_file import default_file
from config.load import ConfigurationRejected, load
from persistence.master_file import read_master
from persistence.readings.file import RowStream
from tests.support.altibiz_samples import INVOICE, TOTAL, booking, client_of, read_request
from tests.support.sample import BAD

EXAMPLES = int(os.environ.get("BILLINGD_FUZZ", "2000"))
SEED = int(os.environ.get("BILLINGD_TEST_SEED", "20261125"))
SECONDS_AT_MOST = 10.0
GROWTH_BYTES_AT_MOST = 400_000_000
AT = datetime(2026, 11, 25, tzinfo=UTC)

# What parsers have stumbled over.
TOKENS = [
    b"", b"\0", b"\n", b"\r\n", b",", b":", b"'", b'"', b"\\", b"[", b"]", b"{", b"}", b"[" * 3000, b'{"a":' * 3000,
    b"&a ", b"*a", b"!!python/object:os.system ", b"- ", b"? ", b"| ", b"%00", b"%ff", b"\xff", b"\xef\xbb\xbf",
    b"\xed\xa0\x80", b"\x1b[2J", b"\xc2\x9b", b"\xe2\x80\xae", b"1e400", b"-1", b"9" * 5000, b"NaN", b"Infinity",
    b"null", b"true", b"0x1f", b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:45:00Z", b"2026-02-30", b"..", b"@", b"#",
    b"\xd9\xa1", b"Transfer-Encoding: chunked\r\n", b"Content-Length: -1\r\n", b"ffffffffffffffff\r\n",
    b"\x1f\x8b\x08", b"A" * 20_000,
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """A sample with a few of its bytes left out, doubled, moved, or taken by something that parsers stumble over."""
    content = draw(st.sampled_from(samples))
    for _ in range(draw(st.integers(1, 6))):
        begin = draw(st.integers(0, len(content)))
        end = begin + draw(st.sampled_from([0, 0, 1, 2, 8, 64, 1_000_000]))
        what = draw(st.integers(0, 3))
        if what == 0:
            new = draw(st.sampled_from(TOKENS))
        elif what == 1:
            new = content[begin:end] * 2
        elif what == 2:
            new = draw(st.binary(max_size=4))
        else:
            place = draw(st.integers(0, len(content)))
            new = content[place : place + 40]
        content = content[:begin] + new + content[end:]
    return content


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
    keys = [line for line in default_file().splitlines() if "#" not in line]
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


@pytest.mark.timeout(600)
@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
def test_no_bytes_crash_hang_or_bloat_a_parser(parser: Any, tmp_path: Path) -> None:
    print(f"seed {SEED}, {EXAMPLES} inputs")
    longest = 0.0
    with parser(tmp_path) as (samples, parse):
        for sample in samples:
            parse(sample)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        @hypothesis.seed(SEED)
        @hypothesis.settings(
            max_examples=EXAMPLES, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.given(mutated(samples) | st.binary(max_size=200))
        def fuzz(content: bytes) -> None:
            nonlocal longest
            begun = time.monotonic()
            parse(content)
            longest = max(longest, time.monotonic() - begun)

        logging.disable(logging.CRITICAL)  # what the spool says of each input would be kept for the report
        try:
            fuzz()
        finally:
            logging.disable(logging.NOTSET)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print(f"longest {longest:.2f} s, {grown / 1e6:.0f} MB more")
    assert longest < SECONDS_AT_MOST
    assert grown < GROWTH_BYTES_AT_MOST
