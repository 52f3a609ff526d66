"""The spool: what it keeps over a restart, a torn line, and a disk that refuses."""

import dataclasses
import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alarming import spool as spool_module
from alarming.formats import from_spool, to_spool
from alarming.spool import Spool
from persistence.alarms import AlarmRecord, Severity

AT = datetime(2026, 11, 15, tzinfo=UTC)


def record(alarm_id: str, **more: object) -> AlarmRecord:
    made = AlarmRecord(alarm_id, "erp_error", "one", Severity.MAJOR, "č\n\0", 3, AT, AT, "one", context={"a": [1, "x"]})
    return dataclasses.replace(made, **more)  # type: ignore[arg-type]


@given(st.text(), st.integers(0, 10**12), st.dictionaries(st.text(), st.text()), st.lists(st.text(), max_size=3))
def test_what_is_written_is_what_is_read(
    summary: str, count: int, context: dict[str, str], active_subjects: list[str]
) -> None:
    before = record(
        "a",
        summary=summary,
        count=count,
        context=context,
        active_subjects=tuple(active_subjects),
        cleared_at=AT,
        reopened=2,
    )
    assert from_spool(to_spool(before)) == before


def test_alarms_outlive_the_process_with_what_became_of_them(tmp_path: Path) -> None:
    first = Spool(tmp_path / "spool" / "alarms.jsonl")
    first.save(record("a"))
    first.save(record("b"))
    first.mark("a", logged=True)
    first.mark("a", stored=record("a"))
    first.save(record("b", cleared_at=AT))
    again = Spool(first.path)
    assert again.entries == first.entries
    assert (again.entries["a"].logged, again.entries["a"].stored) == (True, True)
    assert (again.entries["b"].logged, again.entries["b"].record.cleared_at) == (False, AT)
    assert again.broken is None


def test_what_the_table_got_before_it_was_cleared_is_not_the_clearing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "alarms.jsonl")
    spool.save(record("a", cleared_at=AT))
    spool.mark("a", stored=record("a"))
    assert not spool.entries["a"].stored


def test_an_adopted_id_replaces_the_first(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "alarms.jsonl")
    spool.save(record("a"))
    spool.mark("a", logged=True)
    spool.rename("a", record("b"))
    assert list(Spool(spool.path).entries) == ["b"]
    assert Spool(spool.path).entries["b"].logged


def test_a_torn_or_foreign_line_loses_nothing_else(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "alarms.jsonl")
    spool.save(record("a"))
    spool.save(record("b"))
    whole = spool.path.read_bytes()
    for cut in [*range(1, len(whole), 23), len(whole) - 1]:
        spool.path.write_bytes(whole[:cut])
        torn = Spool(spool.path)
        torn.save(record("c"))
        expected = {"c"} | ({"a"} if b'"a"' in whole[:cut] and whole[:cut].count(b"}\n") else set())
        assert expected <= set(Spool(spool.path).entries)
    spool.path.write_bytes(b"\xff\xfe{}\n[1]\nnull\n" + whole)
    assert set(Spool(spool.path).entries) == {"a", "b"}


@pytest.mark.parametrize("count", [-1, 2**63, 1.5, float("inf"), "3", True, None, [1]])
@pytest.mark.parametrize("place", ["count", "reopened", "context signs", "context reopened"])
def test_a_line_with_a_foreign_count_is_passed_over(tmp_path: Path, place: str, count: object) -> None:
    line = to_spool(record("a")) | {"said": True, "stored": True}
    *inside, name = place.split()
    (line["context"] if inside else line)[name] = count
    (tmp_path / "alarms.jsonl").write_text(json.dumps(line) + "\n")
    assert Spool(tmp_path / "alarms.jsonl").entries == {}


def test_the_file_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "COMPACT_BYTES", 20_000)
    monkeypatch.setattr(spool_module, "KEPT_AT_MOST", 5)
    spool = Spool(tmp_path / "alarms.jsonl")
    for number in range(300):
        spool.save(record(str(number), cleared_at=AT))
    assert spool.path.stat().st_size < 30_000
    assert list(Spool(spool.path).entries) == ["295", "296", "297", "298", "299"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("no permission to mount a small file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(os.urandom(512))


def test_a_full_disk_is_said_and_made_up_for_once_there_is_room(small_disk: Path) -> None:
    spool = Spool(small_disk / "alarms.jsonl")
    spool.save(record("before"))
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        fill(filler)
    for number in range(60):
        spool.save(record(f"full-{number}"))
    assert spool.broken is not None
    assert "No space left" in spool.broken
    assert "before" in Spool(spool.path).entries, "what was there is there"
    filler.unlink()
    spool.retry()
    assert spool.broken is None
    assert set(Spool(spool.path).entries) == {"before", *(f"full-{number}" for number in range(60))}


def test_a_folder_that_is_none_breaks_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    spool = Spool(tmp_path / "file" / "alarms.jsonl")
    assert spool.broken is not None
    spool.save(record("a"))
    assert "a" in spool.entries
