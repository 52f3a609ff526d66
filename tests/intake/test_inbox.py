"""The inbox as a folder: what counts as whole, in which order, and that no move writes over anything."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from intake.inbox import PROBE, REASON, SUMS, Inbox, WaitingFile

AT = datetime(2026, 11, 25, tzinfo=UTC)
A, B = "a" * 64, "b" * 64


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox(tmp_path: Path, clock: Clock) -> Inbox:
    return Inbox(tmp_path, clock)


def drop(inbox: Inbox, name: str, content: str = "x", age_seconds: int = 0) -> Path:
    path = inbox.folder / name
    path.write_text(content)
    os.utime(path, (1_000_000 - age_seconds, 1_000_000 - age_seconds))
    return path


def whole(inbox: Inbox) -> list[str]:
    return [file.path.name for file in inbox.waiting(5) if file.whole]


def only(inbox: Inbox) -> WaitingFile:
    (file,) = inbox.waiting(0)
    return file


def test_a_file_is_whole_once_it_stays_as_it_is(inbox: Inbox, clock: Clock) -> None:
    path = drop(inbox, "readings.csv")
    assert whole(inbox) == []
    clock.now = 4
    path.write_text("xy")
    assert whole(inbox) == []
    clock.now = 8
    assert whole(inbox) == []
    clock.now = 9
    assert whole(inbox) == ["readings.csv"]
    assert not only(inbox).has_changed()
    file = only(inbox)
    path.write_text("xyz")
    assert file.has_changed()


@pytest.mark.parametrize("name", [".hidden.csv", "a.csv.part", "a.TMP", "a.csv.filepart"])
def test_a_name_that_says_it_is_partial_is_left_alone(inbox: Inbox, name: str) -> None:
    drop(inbox, name)
    assert inbox.waiting(0) == []


def test_what_is_no_plain_file_is_left_alone(inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe.csv")
    assert inbox.waiting(0) == []


def test_the_oldest_comes_first_and_what_was_posted_is_whole_at_once(inbox: Inbox) -> None:
    drop(inbox, "b.csv", age_seconds=1)
    drop(inbox, "a.csv")
    drop(inbox, f"{'0' * 32}@10.0.0.7.readings", age_seconds=2)
    assert [file.path.name for file in inbox.waiting(5)] == [f"{'0' * 32}@10.0.0.7.readings", "b.csv", "a.csv"]
    assert whole(inbox) == [f"{'0' * 32}@10.0.0.7.readings"]


def test_one_name_again_and_again_loses_no_content(inbox: Inbox) -> None:
    for number in range(3):
        drop(inbox, "readings.csv", f"taken {number}")
        inbox.take(only(inbox), A, AT)
    for number in range(3):
        drop(inbox, "other.csv", f"refused {number}")
        inbox.refuse(only(inbox), B, ["why", "and why"])
    contents = sorted(path.read_text() for path in (inbox.folder / "done/2026-11").glob("readings*"))
    assert contents == ["taken 0", "taken 1", "taken 2"]
    assert sorted(path.read_text() for path in inbox.refused()) == ["refused 0", "refused 1", "refused 2"]
    assert (inbox.folder / "refused" / f"other.csv{REASON}").read_text() == "why\nand why\n"


@pytest.mark.parametrize(
    "name", ["x" * 255, "č" * 127, b"not \xff text".decode("utf-8", "surrogateescape"), "a\nb.csv"]
)
def test_any_name_can_be_taken_and_refused(inbox: Inbox, name: str) -> None:
    drop(inbox, name)
    inbox.refuse(only(inbox), A, [f"{name}: why"])
    drop(inbox, name)
    inbox.take(only(inbox), B, AT, "a note")
    assert inbox.waiting(0) == []
    assert list((inbox.folder / "done/2026-11").glob("*.note"))


def test_what_was_refused_is_settled_by_one_of_the_same_name(inbox: Inbox) -> None:
    for name in ("readings.csv", "other.csv"):
        drop(inbox, name)
        inbox.refuse(only(inbox), A, ["why"])
    drop(inbox, "readings.csv", "mended")
    inbox.take(only(inbox), B, AT)
    assert [path.name for path in inbox.refused()] == ["other.csv"]
    settled = inbox.folder / "done/2026-11/readings.csv.refused"
    assert settled.read_text() == "x"
    assert dict(inbox.done()) == {B: inbox.folder / "done/2026-11/readings.csv"}


def test_what_was_taken_can_be_put_back(inbox: Inbox) -> None:
    drop(inbox, "readings.csv", "taken")
    inbox.take(only(inbox), A, AT)
    drop(inbox, "readings.csv", "another")
    inbox.put_back(dict(inbox.done())[A])
    assert dict(inbox.done()) == {}
    assert sorted(file.path.read_text() for file in inbox.waiting(0)) == ["another", "taken"]
    assert [file.path.read_text() for file in inbox.waiting(60) if file.whole] == ["taken"]


def test_a_list_that_a_full_disk_has_cut_short_loses_no_later_file(inbox: Inbox) -> None:
    (inbox.folder / "done/2026-11").mkdir(parents=True)
    (inbox.folder / "done/2026-11" / SUMS).write_text(f"{A}  first.csv\n{B[:20]}")
    drop(inbox, "readings.csv")
    inbox.take(only(inbox), B, AT)
    assert dict(inbox.done()) == {B: inbox.folder / "done/2026-11/readings.csv"}


def test_an_inbox_is_one_daemons(inbox: Inbox, tmp_path: Path) -> None:
    assert inbox.acquire()
    other = Inbox(tmp_path, Clock())
    assert not other.acquire()
    inbox.close()
    assert other.acquire()
    other.close()


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("../secret")], ids=["pipe", "link"])
def test_what_somebody_has_put_where_the_inbox_writes_is_neither_waited_for_nor_written_through(
    inbox: Inbox, make: Callable[[Path], object]
) -> None:
    folder = inbox.folder / "in"
    folder.mkdir()
    secret = drop(inbox, "secret", "s3cret")
    inside = Inbox(folder, Clock())
    make(folder / PROBE)
    inside.check()
    assert not os.path.lexists(folder / PROBE)
    drop(inside, "a.csv")
    inside.refused_folder.mkdir()
    reason = inside.refused_folder / f"a.csv{REASON}"
    make(reason)
    inside.refuse(only(inside), A, ["why"])
    assert (reason.is_symlink(), reason.read_text()) == (False, "why\n")
    drop(inside, "b.csv")
    (folder / "done/2026-11").mkdir(parents=True)
    make(folder / "done/2026-11" / SUMS)
    with pytest.raises(OSError, match=r"no regular file|No such device|Too many levels"):
        inside.take(only(inside), A, AT)
    assert secret.read_text() == "s3cret"


@pytest.mark.parametrize("name", ["../../secret", "..", ".", "", "/etc/passwd"])
def test_a_list_of_what_was_taken_leads_to_nothing_outside_of_its_folder(inbox: Inbox, name: str) -> None:
    drop(inbox, "secret")
    folder = inbox.folder / "done/2026-11"
    folder.mkdir(parents=True)
    (folder / SUMS).write_text(f"{A}  {name}\n")
    assert dict(inbox.done()) == {}
