"""The daemon's log: journal fields under systemd, colours on a terminal, else JSON lines; it never raises."""

import json
import logging
import os
import re
import select
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from logging_journald import JournaldTransport  # type: ignore[import-untyped]
from pydantic import SecretStr

from billing.foreign_text import spelt_out, spelt_out_json
from billing.instants import format_instant

Format = Literal["auto", "journal", "console", "json"]

# What these say below a warning is about themselves, and httpcore's would name request headers.
QUIET_LOGGERS = ("alembic", "apscheduler", "asyncio", "httpcore", "httpx", "pykka", "sqlalchemy", "uvicorn")
WRITE_TIMEOUT_SECONDS = 0.2
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_COLOURS = {2: "\x1b[1;31m", 3: "\x1b[31m", 4: "\x1b[33m", 6: "", 7: "\x1b[2m"}
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_FIELD = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_ATOMIC_BYTES = select.PIPE_BUF
_SHORTEST_SECRET = 4

_hidden: tuple[str, ...] = ()


def hide(*secrets: SecretStr | None) -> None:
    """Mask these secrets in every line from now on, should one slip into a message."""
    global _hidden  # replaced as a whole, so that no thread reads it half changed
    values = [secret.get_secret_value() for secret in secrets if secret]
    long_enough = [value for value in values if len(value) >= _SHORTEST_SECRET]
    escaped = [json.dumps(value, ensure_ascii=False)[1:-1] for value in long_enough]
    _hidden = tuple(dict.fromkeys((*_hidden, *long_enough, *escaped)))


def _masked(text: str) -> str:
    for secret in _hidden:
        text = text.replace(secret, "***")
    return text


def _priority(record: logging.LogRecord) -> int:
    return next((priority for level, priority in _PRIORITIES if record.levelno >= level), 7)


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _USUAL and name[0] != "_"}


def _json(document: object) -> str:
    try:
        text = json.dumps(document, default=str, ensure_ascii=False)
    except (TypeError, ValueError):
        # A key that is no text, or a circle.
        text = json.dumps(repr(document), ensure_ascii=False)
    return spelt_out_json(text)


class _Text(logging.Formatter):
    """The message with its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        try:
            return super().format(record)
        except Exception as error:  # noqa: BLE001 - a caller's wrong arguments must not cost the record
            return f"{record.msg} (arguments that don't fit: {error})"


def _at(record: logging.LogRecord) -> str:
    return format_instant(datetime.fromtimestamp(record.created, UTC), "milliseconds")


def json_line(record: logging.LogRecord, text: str) -> str:
    """Return one JSON document: at, level, logger, message, thread, the record's fields, of debug the function."""
    line = {
        "at": _at(record),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": text,
        "thread": record.threadName,
        **({"function": record.funcName} if record.levelname == "DEBUG" else {}),
    }
    fields = {name: _json(value) for name, value in {**_extras(record), **line}.items()}
    return "{" + ", ".join(f"{_json(name)}: {value}" for name, value in fields.items()) + "}"


def console_line(record: logging.LogRecord, text: str) -> str:
    """Return one line for people: time (UTC), level, logger, message."""
    return f"{_at(record)[11:]} {record.levelname:<8} {record.name}: {spelt_out(text)}"


def _coloured_line(record: logging.LogRecord, text: str) -> str:
    colour = _COLOURS[_priority(record)]
    line = console_line(record, text)
    return f"{colour}{line}\x1b[0m" if colour else line


class LineHandler(logging.Handler):
    """Writes lines to a descriptor; one that is closed or full costs lines, never a caller's time.

    `lost` counts the lines that could not be written.
    """

    def __init__(self, line: Callable[[logging.LogRecord, str], str], descriptor: int = 2) -> None:
        super().__init__()
        self.setFormatter(_Text())
        self._line = line
        self._descriptor = descriptor
        self._timeout_seconds = WRITE_TIMEOUT_SECONDS
        self._line_incomplete = False
        self.lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = _masked(self._line(record, self.format(record))) + "\n"
            self._write(("\n" if self._line_incomplete else "") + line)
            self._timeout_seconds = WRITE_TIMEOUT_SECONDS
        except Exception:  # noqa: BLE001 - whatever is wrong with the log must not stop billing
            self.lost += 1

    def _write(self, text: str) -> None:
        rest = memoryview(text.encode(errors="replace"))
        while rest:
            # A pipe that polls as writable takes this much at once; more could block for ever.
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            if not poll.poll(self._timeout_seconds * 1000):
                # The next record does not wait again for a reader that has stopped.
                self._timeout_seconds = 0.0
                raise BlockingIOError
            rest = rest[os.write(self._descriptor, rest[:_ATOMIC_BYTES]) :]
            self._line_incomplete = bool(rest)


class JournalHandler(logging.Handler):
    """Sends records to the journal with their fields; falls back to `fallback` when it doesn't listen."""

    def __init__(self, fallback: logging.Handler, socket_path: str | None = None) -> None:
        super().__init__()
        self.setFormatter(_Text())
        self._fallback = fallback
        self._transport = JournaldTransport(socket_path, connected=False)  # which finds a new one by its path
        self._transport.socket.settimeout(WRITE_TIMEOUT_SECONDS)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._transport.send(self._fields(record).items())
            self._transport.socket.settimeout(WRITE_TIMEOUT_SECONDS)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the journal must not stop billing
            if isinstance(error, TimeoutError | BlockingIOError):
                self._transport.socket.setblocking(False)
            self._fallback.handle(record)

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": _priority(record),
            "SYSLOG_IDENTIFIER": "billingd",
            "LOGGER": record.name,
            "THREAD_NAME": record.threadName,
            "CODE_FILE": record.pathname,
            "CODE_LINE": record.lineno,
            "CODE_FUNC": record.funcName,
        }
        extras = {_field_name(name): value for name, value in _extras(record).items()}
        return {name: _field_value(value) for name, value in {**extras, **fields}.items()}


def _field_name(name: str) -> str:
    return name if _FIELD.fullmatch(name) else f"BILLINGD_{re.sub(r'[^A-Z0-9_]', '_', name.upper())}"[:64]


def _field_value(value: object) -> bytes:
    text = value if isinstance(value, str) else _json(value)
    return _masked(spelt_out(text)).encode(errors="replace")


def under_journal(environ: Mapping[str, str] = os.environ, descriptor: int = 2) -> bool:
    """Return whether `descriptor` is the stream to the journal that systemd gave this process."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _handler(form: Format) -> logging.Handler:
    plain = LineHandler(json_line)
    if form == "journal" or (form == "auto" and under_journal()):
        try:
            return JournalHandler(plain)
        except OSError:  # no descriptor is left
            return plain
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if form == "console" or (form == "auto" and terminal):
        colours = terminal and not os.environ.get("NO_COLOR")
        return LineHandler(_coloured_line if colours else console_line)
    return plain


def configure(level: str = "info", form: Format = "auto") -> None:
    """Log to where `form` says from `level` up; call it again to change either. It never raises.

    `extra={"BILLINGD_...": value}` of a record becomes a journal field and a key of the JSON line.
    """
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, LineHandler | JournalHandler):
            root.removeHandler(handler)
    root.addHandler(_handler(form))
    set_level(level)


def set_level(level: str) -> None:
    """Log from `level` up; libraries from a warning up at the least."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger().setLevel(number)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
