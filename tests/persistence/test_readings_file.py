"""The stream of a readings file: level memory whatever its size, and only whole, checked lines come out."""

import gzip
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.readings.file import COLUMNS, RowStream

HEADER = ",".join(COLUMNS) + "\n"
ROW = "meter-1,2026-08-01T00:00:00Z,1234567890,1234567000,890,1,2,3\n"


def test_memory_stays_level_whatever_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "large.csv.gz"
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as file:
        file.write(HEADER)
        for _ in range(300):
            file.write(ROW * 1000)
    stream = RowStream(path)
    tracemalloc.start()
    size = sum(len(block) for block in stream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (stream.rows, stream.problem) == (300_000, None)
    assert size == len(ROW) * 300_000 > 15_000_000
    assert peak < 4_000_000


@pytest.mark.parametrize("last", [ROW, ROW.rstrip("\n")])
def test_what_comes_out_is_what_is_in_the_file(tmp_path: Path, last: str) -> None:
    path = tmp_path / "readings.csv"
    path.write_text(HEADER + ROW * 40_000 + last, "utf-8")
    stream = RowStream(path)
    blocks = list(stream)
    assert len(blocks) > 1
    assert all(block.endswith(b"\n") for block in blocks)
    assert b"".join(blocks) == (ROW * 40_001).encode()
    assert stream.rows == 40_001


@given(st.binary(max_size=300), st.integers(0, 60))
def test_no_bytes_whatever_make_it_raise_or_give_out_half_a_row(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.csv"
    content = ROW.encode() * 2
    path.write_bytes(HEADER.encode() + content[:at] + junk + content[at:])
    stream = RowStream(path)
    lines = b"".join(stream).splitlines(keepends=True)
    assert len(lines) == stream.rows
    assert all(line.count(b",") == 7 and line.endswith(b"\n") for line in lines)
    assert stream.problem is None or stream.problem.line is None or stream.problem.line == stream.rows + 2 or not lines
