"""A file of register readings as a stream: unpacked, its header and every row checked, in level memory."""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from pathlib import Path

from files.opening import open_regular

COLUMNS = (
    "meter_id",
    "timestamp",
    "active_import_total_wh",
    "active_import_t1_wh",
    "active_import_t2_wh",
    "active_export_total_wh",
    "reactive_import_total_varh",
    "reactive_export_total_varh",
)
REGISTERS = COLUMNS[2:]
_HEADER = ",".join(COLUMNS)
_GZIP_MAGIC = b"\x1f\x8b"
_BLOCK_BYTES = 1 << 18
_LINE_BYTES_AT_MOST = 1000  # a row of eight fields never comes near

_METER = rb'[^,"\r\n\x00]{1,200}'
_ZONE = rb"(?:Z|[+-][0-9]{2}:(?:00|15|30|45))"
_INSTANT = rb"(?:19|2[0-9])[0-9]{2}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):(?:00|15|30|45):00" + _ZONE
_VALUE = rb"[0-9]{1,18}"  # 18 digits: sums of two, and four times one, stay within bigint
_ROW = _METER + b"," + _INSTANT + b"(?:," + _VALUE + b"){6}\n"
_IS_ROW = re.compile(_ROW)
_ARE_ROWS = re.compile(b"(?:" + _ROW + b")*+")  # possessive: no way back to remember, so memory stays level
_IS_INSTANT = re.compile(_INSTANT)
_IS_VALUE = re.compile(_VALUE)
_IS_LOCAL_TIME = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?")


class ReadingsRejected(ValueError):  # noqa: N818 - an outcome, named as the others of this room
    """A file of readings can't be taken: which file, which line (None: no single one), and why."""

    def __init__(self, file: str, line: int | None, reason: str) -> None:
        super().__init__(f"{file}{'' if line is None else f':{line}'}: {reason}")
        self.file = file
        self.line = line
        self.reason = reason


class RowStream:
    """The rows of a file as blocks of whole lines, LF behind each, for COPY in CSV format.

    It never raises while it is read, since that would leave the COPY half done: it ends early, and
    `problem` says why. `rows` counts the rows that have been given out.
    """

    def __init__(self, path: Path, progress: Callable[[int], None] | None = None) -> None:
        self.path = path
        self.rows = 0
        self.problem: ReadingsRejected | None = None
        self._progress = progress

    def __iter__(self) -> Iterator[bytes]:
        try:
            with open_regular(self.path) as file:
                if file.peek(2)[:2] == _GZIP_MAGIC:
                    with gzip.open(file) as unpacked:
                        yield from self._rows(unpacked)
                else:
                    yield from self._rows(file)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self._refuse(self.rows + 2, f"the compressed file is cut short or damaged: {error}")
        except OSError as error:
            self._refuse(None, f"it can't be read: {error.strerror or error}")
        else:
            if self.rows == 0 and self.problem is None:
                self._refuse(None, "it has no rows")

    def _refuse(self, line: int | None, reason: str) -> None:
        self.problem = ReadingsRejected(str(self.path), line, reason)

    def _rows(self, file: BufferedIOBase) -> Iterator[bytes]:
        header = file.readline(_LINE_BYTES_AT_MOST)
        if header != f"{_HEADER}\n".encode() and header != _HEADER.encode():
            self._refuse(1, _what_is_wrong_with_header(header))
            return
        rest = b""
        while block := file.read1(_BLOCK_BYTES):  # not read: it would lose the rows before a damaged place
            lines, line_feed, rest = (rest + block).rpartition(b"\n")
            if lines:
                yield from self._checked(lines + line_feed)
            if self.problem is not None:
                return
            if len(rest) > _LINE_BYTES_AT_MOST:
                self._refuse(self.rows + 2, "the line is too long to be a row")
                return
        if rest:
            if not _IS_ROW.fullmatch(rest + b"\n"):
                self._refuse(self.rows + 2, f"the file is cut short: its last row is only {_quote(rest)}")
                return
            yield from self._checked(rest + b"\n")

    def _checked(self, lines: bytes) -> Iterator[bytes]:
        if not _ARE_ROWS.fullmatch(lines):
            for number, line in enumerate(lines.splitlines(keepends=True), start=self.rows + 2):
                if not _IS_ROW.fullmatch(line):
                    self._refuse(number, _what_is_wrong_with_row(line))
                    return
        self.rows += lines.count(b"\n")
        if self._progress is not None:
            self._progress(self.rows)
        yield lines


def _quote(text: bytes) -> str:
    shown = text.decode("utf-8", errors="replace")
    return repr(shown if len(shown) <= 80 else f"{shown[:80]}…")


def _what_is_wrong_with_header(header: bytes) -> str:
    if not header:
        return "the file is empty"
    if header.endswith(b"\r\n"):
        return "lines end in CR LF; they have to end in LF alone"
    if header.startswith(b"\xef\xbb\xbf"):
        return "the file begins with a byte order mark; it has to begin with the header"
    found = header.rstrip(b"\n").split(b",")
    for place, (name, wanted) in enumerate(zip(found, COLUMNS, strict=False), start=1):
        if name != wanted.encode():
            return f"the header has {_quote(name)} as column {place} where {wanted!r} belongs"
    return f"the header has {len(found)} columns, not the {len(COLUMNS)} of {_HEADER!r}"


def _what_is_wrong_with_row(line: bytes) -> str:
    if line.endswith((b"\r\n", b"\r")):
        return "the line ends in CR LF; it has to end in LF alone"
    row = line.rstrip(b"\n").split(b",")
    if len(row) != len(COLUMNS):
        return f"the row has {len(row)} fields, not {len(COLUMNS)}: {_quote(line)}"
    if not re.fullmatch(_METER, row[0]):
        return f"meter_id is {_quote(row[0])}, which is no meter's id"
    if not _IS_INSTANT.fullmatch(row[1]):
        return f"timestamp {_quote(row[1])} {_what_is_wrong_with_instant(row[1])}"
    for name, value in zip(REGISTERS, row[2:], strict=True):
        if not _IS_VALUE.fullmatch(value):
            too_long = value.isdigit() and len(value) > 18
            return f"{name} is {_quote(value)}, " + (
                "more than a register can hold" if too_long else "not a whole number >= 0"
            )
    return f"not a row of readings: {_quote(line)}"


def _what_is_wrong_with_instant(text: bytes) -> str:
    if _IS_LOCAL_TIME.fullmatch(text):
        return "has no zone; it has to end in Z"
    if re.fullmatch(_IS_LOCAL_TIME.pattern + rb"(?:Z|[+-][0-9]{2}:[0-9]{2})", text):
        return "is not at a full quarter hour" if re.match(rb"19|2", text) else "is not of the years 1900 to 2999"
    return "is not an instant like 2026-08-01T06:15:00Z"
