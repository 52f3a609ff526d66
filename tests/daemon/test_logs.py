"""The log's lines and fields, and that nothing that is wrong with it reaches a caller."""

import json
import logging
import os
import re
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from logging_journald import JournaldTransport  # type: ignore[import-untyped]
from pydantic import SecretStr

from daemon import logs

ALARM = {"BILLINGD_ALARM_CODE": "erp_unreachable", "BILLINGD_ALARM_ID": 7, "context": {"ids": ["NU-1.2026-10.1"]}}


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """A logger that reaches only the handlers a test gives it."""
    logger = logging.getLogger("billingd.test_logs")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.propagate = True


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)  # a line that is missing is an error at once
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            continue


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_hidden", ())


def test_a_json_line_holds_the_record_and_its_own_fields(log: logging.Logger, pipe: tuple[int, int]) -> None:
    log.addHandler(logs.LineHandler(logs.json_line, pipe[1]))
    log.warning("no answer from %s", "the ERP", extra=ALARM)
    line = json.loads(os.read(pipe[0], 4096))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("at"))
    assert line == {
        **ALARM,
        "level": "warning",
        "logger": "billingd.test_logs",
        "message": "no answer from the ERP",
        "thread": "MainThread",
    }


def test_a_traceback_is_part_of_the_message_and_one_line_stays_one(log: logging.Logger, pipe: tuple[int, int]) -> None:
    log.addHandler(logs.LineHandler(logs.json_line, pipe[1]))
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        log.exception("an actor crashed")
    written = os.read(pipe[0], 65536)
    assert written.count(b"\n") == 1
    assert "RuntimeError: boom" in json.loads(written)["message"]


def test_a_console_line_shows_control_characters_instead_of_obeying_them(
    log: logging.Logger, pipe: tuple[int, int]
) -> None:
    log.addHandler(logs.LineHandler(logs.console_line, pipe[1]))
    log.error("the ERP says \x1b[2J")
    assert os.read(pipe[0], 4096).decode().endswith(" ERROR    billingd.test_logs: the ERP says \\x1b[2J\n")


@pytest.mark.parametrize("value", ["ge-heim", 'ge"heim\\', "gehežim"])
def test_a_hidden_secret_is_masked_wherever_it_slips_in(
    log: logging.Logger, pipe: tuple[int, int], secrets: None, value: str
) -> None:
    logs.hide(SecretStr(value), None, SecretStr("abc"))
    log.addHandler(logs.LineHandler(logs.json_line, pipe[1]))
    log.info("abc with %s", value, extra={"header": value, "deep": {"token": [value]}})
    line = json.loads(os.read(pipe[0], 4096))
    assert line["message"] == "abc with ***"
    assert line["header"] == "***"
    assert line["deep"] == {"token": ["***"]}


def test_wrong_arguments_and_odd_values_cost_no_record_and_no_caller(
    log: logging.Logger, pipe: tuple[int, int]
) -> None:
    handler = logs.LineHandler(logs.json_line, pipe[1])
    log.addHandler(handler)
    # Straight to the handler: pytest's own would raise.
    handler.handle(logging.makeLogRecord({"msg": "%d invoices", "args": ("many",)}))
    circle: dict[str, object] = {}
    circle["again"] = circle
    log.info("half a character \ud800", extra={"object": object(), "circle": circle, "pairs": {(1, 2): 3}})
    first, second = os.read(pipe[0], 4096).decode().splitlines()
    assert "arguments that don't fit" in json.loads(first)["message"]
    assert json.loads(second)["message"] == "half a character ?"
    assert handler.lost == 0


def test_a_closed_descriptor_costs_lines_only(log: logging.Logger, pipe: tuple[int, int]) -> None:
    handler = logs.LineHandler(logs.json_line, pipe[1])
    log.addHandler(handler)
    os.close(pipe[1])
    log.info("into the void")
    assert handler.lost == 1


def test_a_reader_who_stands_still_costs_lines_and_once_a_moment(log: logging.Logger, pipe: tuple[int, int]) -> None:
    handler = logs.LineHandler(logs.json_line, pipe[1])
    log.addHandler(handler)
    began = time.monotonic()
    for number in range(200):
        log.info("%d %s", number, "x" * 10_000)
    assert time.monotonic() - began < 10 * logs.WRITE_TIMEOUT_SECONDS
    assert handler.lost > 100
    received = bytearray()
    reader = threading.Thread(target=_read_until, args=(pipe[0], received, b"he reads again"))
    reader.start()
    deadline = time.monotonic() + 10
    while reader.is_alive() and time.monotonic() < deadline:
        log.info("he reads again")
        reader.join(0.01)
    assert not reader.is_alive()
    lines = received.decode().splitlines()
    assert json.loads(lines[0])["message"].startswith("0 ")
    assert "he reads again" in json.loads(lines[-1])["message"]


def _read_until(descriptor: int, received: bytearray, end: bytes) -> None:
    while end not in received or not received.endswith(b"\n"):
        if select.select([descriptor], [], [], 10)[0]:
            received += os.read(descriptor, 65536)


class Journal:
    """The journal's socket, and its protocol read back."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(5)

    def entry(self) -> dict[str, str]:
        data, descriptors, _, _ = socket.recv_fds(self.socket, 1 << 20, 1)
        if descriptors:
            with os.fdopen(descriptors[0], "rb") as large:
                large.seek(0)
                data = large.read()
        fields: dict[str, str] = {}
        while data:
            line, _, data = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                (length,) = struct.unpack("<Q", data[:8])
                value, data = data[8 : 8 + length], data[8 + length + 1 :]
            fields[name.decode()] = value.decode()
        return fields


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[tuple[Journal, str]]:
    path = tmp_path / "journal"
    journal = Journal(path)
    yield journal, str(path)
    journal.socket.close()


def test_a_record_becomes_journal_fields_under_their_own_names(
    log: logging.Logger, pipe: tuple[int, int], journal: tuple[Journal, str], secrets: None
) -> None:
    logs.hide(SecretStr("geheim"))
    log.addHandler(logs.JournalHandler(logs.LineHandler(logs.json_line, pipe[1]), journal[1]))
    log.error("two\nlines, geheim", extra={**ALARM, "MESSAGE_ID": "0" * 32, "PRIORITY": 9, "_UID": 1})
    entry = journal[0].entry()
    assert entry["MESSAGE"] == "two\nlines, ***"
    assert entry["PRIORITY"] == "3"
    assert entry["SYSLOG_IDENTIFIER"] == "billingd"
    assert entry["BILLINGD_ALARM_CODE"] == "erp_unreachable"
    assert entry["BILLINGD_ALARM_ID"] == "7"
    assert entry["MESSAGE_ID"] == "0" * 32
    assert json.loads(entry["BILLINGD_CONTEXT"]) == ALARM["context"]
    assert not [name for name in entry if not re.fullmatch("[A-Z][A-Z0-9_]{0,63}", name)]


def test_a_record_too_large_for_a_datagram_arrives_whole(
    log: logging.Logger, pipe: tuple[int, int], journal: tuple[Journal, str]
) -> None:
    log.addHandler(logs.JournalHandler(logs.LineHandler(logs.json_line, pipe[1]), journal[1]))
    log.info("x" * 1_000_000)
    assert len(journal[0].entry()["MESSAGE"]) == 1_000_000


def test_a_journal_that_is_gone_or_frozen_is_replaced_by_lines(
    log: logging.Logger, pipe: tuple[int, int], journal: tuple[Journal, str]
) -> None:
    lines = logs.LineHandler(logs.json_line, pipe[1])
    log.addHandler(logs.JournalHandler(lines, journal[1]))
    began = time.monotonic()
    for _ in range(500):
        log.info("nobody takes these")
    assert time.monotonic() - began < 10 * logs.WRITE_TIMEOUT_SECONDS
    assert b"nobody takes these" in os.read(pipe[0], 65536)
    journal[0].socket.close()
    Path(journal[1]).unlink()
    log.info("nobody is there")
    received = bytearray()
    _read_until(pipe[0], received, b"nobody is there")


def test_a_journal_that_was_restarted_is_found_again(
    log: logging.Logger, pipe: tuple[int, int], journal: tuple[Journal, str]
) -> None:
    log.addHandler(logs.JournalHandler(logs.LineHandler(logs.json_line, pipe[1]), journal[1]))
    journal[0].socket.close()
    Path(journal[1]).unlink()
    log.info("while it is away")
    again = Journal(Path(journal[1]))
    log.info("after its restart")
    assert again.entry()["MESSAGE"] == "after its restart"
    again.socket.close()


def test_the_stream_to_the_journal_is_told_from_others(pipe: tuple[int, int]) -> None:
    found = os.fstat(pipe[1])
    assert logs.under_journal({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}, pipe[1])
    assert not logs.under_journal({"JOURNAL_STREAM": "8:1"}, pipe[1])
    assert not logs.under_journal({"JOURNAL_STREAM": "nonsense"}, pipe[1])
    assert not logs.under_journal({}, pipe[1])
    os.close(pipe[1])
    assert not logs.under_journal({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}, pipe[1])


def logged_by(code: str, **streams: int) -> subprocess.CompletedProcess[str]:
    program = f"import logging\nfrom daemon import logs\n{code}"
    return subprocess.run(
        [sys.executable, "-c", program],
        stderr=streams.get("stderr", subprocess.PIPE),
        stdout=subprocess.PIPE,
        text=True,
        timeout=30,
        check=True,
        cwd=Path(logs.__file__).parents[1],
    )


def test_libraries_speak_from_a_warning_up_and_levels_change_while_running() -> None:
    done = logged_by(
        "logs.configure('debug', 'json')\n"
        "logging.getLogger('httpcore.http11').debug('Authorization: Bearer s3cret')\n"
        "logging.getLogger('billingd').debug('one')\n"
        "logging.getLogger('apscheduler.scheduler').warning('two')\n"
        "logs.set_level('error')\n"
        "logging.getLogger('billingd').warning('three')\n"
        "logs.configure('info', 'auto')\n"
        "logging.getLogger('billingd').info('four')\n"
    )
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == ["one", "two", "four"]


def test_a_terminal_gets_colours_and_people_lines() -> None:
    controller, terminal = os.openpty()
    logged_by("logs.configure()\nlogging.getLogger('billingd').warning('slow')\n", stderr=terminal)
    written = os.read(controller, 4096).decode()
    os.close(controller)
    os.close(terminal)
    assert re.search(r"\x1b\[33m\d\d:\d\d:\d\d\.\d{3}Z WARNING  billingd: slow\x1b\[0m", written)


def test_the_transport_of_the_library_has_the_socket_we_set_the_patience_of(journal: tuple[Journal, str]) -> None:
    assert isinstance(JournaldTransport(journal[1]).socket, socket.socket)
