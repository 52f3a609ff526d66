"""What commands write: data to standard output, notes to standard error; columns, CSV and JSON."""

import codecs
import contextlib
import csv
import io
import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from billing.foreign_text import spelt_out, spelt_out_json
from cli.invocation import CommandFailed
from web.formatting import cell, on_one_line, plain, utc

_GAP = "  "
# At the start, and where a spreadsheet that takes ; or tabs for separators would begin a cell.
_FORMULA = re.compile(r"""((?:^|[;\t\r\n])[\s"']*)(?=[=+\-@＝＋－＠])""")


def print_line(text: str) -> None:
    """Write one line of data to standard output. Raises CommandFailed when it can't be written."""
    try:
        sys.stdout.write(spelt_out(text) + "\n")
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise CommandFailed(f"cannot write the output: {error.strerror}") from error


def discard_output() -> None:
    """Lets what is left of standard output go nowhere: Python's own last flush must not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a file that the person asked for. Raises CommandFailed when it can't be written."""
    try:
        path.write_text(text, "utf-8", newline="")
    except OSError as error:
        raise CommandFailed(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error


def print_note(text: str) -> None:
    """Write one line for the person to standard error: progress, notes, problems. It never raises."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(spelt_out(text) + "\n")
        sys.stderr.flush()


def print_json(document: Any) -> None:
    """Write one JSON document: decimals as strings, instants in UTC with Z (docs/spec/interfaces.md, "JSON")."""
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    print_line(spelt_out_json(json.dumps(document, default=plain, ensure_ascii=ascii_only, indent=2)))


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print_line(line)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def print_alarms(alarms: Sequence[Mapping[str, Any]], *, cleared_too: bool = False) -> None:
    """Write a table of alarms as JSON has them."""
    named = {"since": "raised_at", "cleared": "cleared_at", "acknowledged": "acked_at", "what": "summary"}
    titles = ["id", "severity", "code", "key", "count", *(each for each in named if cleared_too or each != "cleared")]
    names = [named.get(title, title) for title in titles]
    rows = [[utc(of[name]) if name[-3:] == "_at" and of[name] else of[name] for name in names] for of in alarms]
    print_table(titles, rows, right=("count",))


def truncated(lines: Iterable[str]) -> Iterator[str]:
    """The same lines, cut to the width of the terminal where standard output is one: rows stay rows."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in lines:
        yield line if width is None or len(line) <= width else f"{line[: width - 1]}…"


def truncated_text(text: str) -> str:
    """The same lines, cut as `truncated` does, without control characters."""
    if text.replace("\n", "").isprintable() and not sys.stdout.isatty():
        return text  # of many lines, in a moment
    return "\n".join(truncated(map(on_one_line, text.split("\n"))))


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, right: Collection[str] = ()) -> None:
    """Write aligned columns as data, cut as `truncated` does; nothing without rows."""
    print_lines(truncated(columns(header, rows, right=right)) if rows else ())


def columns(
    header: Sequence[str], rows: Sequence[Sequence[object]], *, right: Collection[str] = (), indent: str = ""
) -> Iterator[str]:
    """Lines of aligned columns; those named in `right` to the right. A header of empty names is left out."""
    texts = [[cell(value) for value in row] for row in rows]
    widths = [max(len(row[place]) for row in [header, *texts]) for place in range(len(header))]
    for row in [header, *texts] if any(header) else texts:
        padded = (
            text.rjust(width) if name in right else text.ljust(width)
            for name, text, width in zip(header, row, widths, strict=True)
        )
        yield indent + _GAP.join(padded).rstrip()


def csv_line(values: Iterable[object]) -> str:
    """One line of CSV without its end; text that a spreadsheet would take for a formula is quoted as text."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([_without_formula(value) for value in values])
    return spelt_out(" ".join(buffer.getvalue().splitlines()))


def _without_formula(value: object) -> object:
    if isinstance(value, str):
        return _FORMULA.sub(r"\1'", value)
    return f"{value:f}" if isinstance(value, Decimal) else value


def substitute_unencodable() -> None:
    """Let standard output take every text, whatever it is encoded in: ć as c, … as ..., else ?."""
    codecs.register_error("substitute", _substituted)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="substitute")


def _substituted(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError), "it is registered for output"
    characters = (unicodedata.normalize("NFKD", each) for each in error.object[error.start : error.end])
    return "".join(each.encode("ascii", "ignore").decode() or "?" for each in characters), error.end
