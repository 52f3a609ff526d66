"""The inbox: which files wait in a folder, which of them are whole, and where they go once they are taken or refused.

    INBOX/NAME                     dropped: taken once it stays as it is
    INBOX/ID@PEER.readings|master  posted by PEER: whole, because it was renamed here when it was on disk
    INBOX/.spool/                  what is being posted
    INBOX/done/YYYY-MM/            taken; SHA256SUMS there says which content each file had
    INBOX/refused/                 refused, with NAME.reason beside it

A move is not waited for to be on disk: a file that is back after a power cut is known by its content.
"""

import fcntl
import itertools
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from files.content_id import CONTENT_ID
from files.opening import open_regular

PARTIAL = (".part", ".tmp", ".filepart")
REASON = ".reason"
SUMS = "SHA256SUMS"
PROBE = ".probe"
PROBE_BYTES = 65_536
NAME_BYTES_AT_MOST = 200
"""Of a name that gets endings: file systems take 255."""
_SUM = re.compile(rb"([0-9a-f]{64})  ([^./\n][^/\n]*)\n?")  # no name leads out of the folder
POSTED = re.compile(rf"({CONTENT_ID.pattern})@([0-9A-Za-z.:%_-]*)\.(readings|master)")


@dataclass(frozen=True, slots=True)
class WaitingFile:
    """A file in the inbox; `signature` is another one once the file has been written to or replaced."""

    path: Path
    size_bytes: int
    signature: tuple[int, ...]
    whole: bool

    @property
    def received_at(self) -> datetime:
        return datetime.fromtimestamp(self.signature[2] / 1e9, UTC)

    @property
    def subject(self) -> str:
        """What a later file has to share to stand for this one: the id of what was posted, else the name."""
        return subject_of(self.path.name)

    def has_changed(self) -> bool:
        """Whether the file is not as it was when it was listed."""
        try:
            return _signature(self.path.lstat()) != self.signature
        except FileNotFoundError:
            return True


def subject_of(name: str) -> str:
    posted = POSTED.fullmatch(name)
    return posted[1] if posted else name


class Inbox:
    """One folder, for one daemon at a time. Every method raises OSError for a file system that refuses."""

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        """`now` is the monotonic clock, in seconds."""
        self.folder = folder
        self._now = now
        self._seen: dict[Path, tuple[tuple[int, ...], float]] = {}
        self._lock: int | None = None

    @property
    def refused_folder(self) -> Path:
        return self.folder / "refused"

    def acquire(self) -> bool:
        """Makes sure that no other daemon works on this folder; whether that is so."""
        if self._lock is not None:
            return True
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def close(self) -> None:
        """Lets another have the folder; any thread may call it."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def check(self) -> None:
        """Makes sure that there is room for what is posted and moved."""
        probe = self.folder / PROBE
        try:
            _write_new(probe, bytes(PROBE_BYTES))
        finally:
            probe.unlink(missing_ok=True)

    def waiting(self, settle_seconds: float) -> list[WaitingFile]:
        """What waits, oldest first. What was dropped is whole once it has stayed as it is for `settle_seconds`."""
        now = self._now()
        seen: dict[Path, tuple[tuple[int, ...], float]] = {}
        found = []
        for path, status in _files(self.folder):
            signature = _signature(status)
            before = self._seen.get(path)
            since = before[1] if before and before[0] == signature else now
            seen[path] = (signature, since)
            whole = POSTED.fullmatch(path.name) is not None or now - since >= settle_seconds
            found.append(WaitingFile(path, status.st_size, signature, whole))
        self._seen = seen
        return sorted(found, key=lambda each: (each.signature[2], each.path.name))

    def take(self, file: WaitingFile, sha256: str, at: datetime, note: str | None = None) -> None:
        """Moves a file to done/, with a note, and what was refused of the same subject too."""
        folder = self._done(at)
        # Before the move: what is in done/ and not in the database is found by this list (`put_back`).
        with open_regular(folder / SUMS, "ab+") as sums:
            target = _free(folder / file.path.name, sha256)
            sums.seek(max(0, sums.seek(0, os.SEEK_END) - 1))
            torn = sums.read() not in (b"", b"\n")  # the last line, by a full disk
            sums.write(b"\n" * torn + f"{sha256}  ".encode() + os.fsencode(target.name) + b"\n")
        if note is not None:
            _write_new(_beside(target, ".note"), f"{note}\n".encode())
        self._settle_refused(file.subject, folder)
        file.path.replace(target)

    def refuse(self, file: WaitingFile, sha256: str, reasons: Iterable[str]) -> None:
        """Moves a file to refused/, its reasons beside it."""
        self.refused_folder.mkdir(exist_ok=True)
        target = _free(self.refused_folder / file.path.name, sha256)
        text = "".join(f"{reason}\n" for reason in reasons)
        reason = _beside(target, REASON)
        _write_new(reason, text.encode(errors="backslashreplace"))
        reason.chmod(0o640)  # for whoever sent the file
        file.path.replace(target)

    def refused(self) -> list[Path]:
        """What was refused and still lies there, the newest last."""
        with suppress(FileNotFoundError):
            found = [(status.st_ctime_ns, path) for path, status in _files(self.refused_folder, every=True)]
            return [path for _, path in sorted(found) if path.suffix != REASON]
        return []

    def done(self, newest_bytes: int | None = None) -> Iterator[tuple[str, Path]]:
        """What was taken and still lies there, with the SHA-256 of its content; read as it is asked for.

        With `newest_bytes` only what the last so many of each of the two lists have that were written to last.
        """
        lists = sorted((self.folder / "done").glob(f"????-??/{SUMS}"), key=lambda each: each.lstat().st_mtime_ns)
        for sums in lists if newest_bytes is None else lists[-2:]:
            with open_regular(sums) as file:
                if newest_bytes is not None:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - newest_bytes))
                for line in file:
                    found = _SUM.fullmatch(line)
                    if found and (path := sums.with_name(os.fsdecode(found[2]))).exists():
                        yield found[1].decode(), path

    def put_back(self, path: Path) -> None:
        """Lets a file of done/ or refused/ wait again; it is known to be whole."""
        _beside(path, REASON).unlink(missing_ok=True)
        waiting = path.replace(_free(self.folder / path.name, "again"))
        self._seen[waiting] = (_signature(waiting.stat()), float("-inf"))

    def _done(self, at: datetime) -> Path:
        folder = self.folder / "done" / f"{at:%Y-%m}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _settle_refused(self, subject: str, folder: Path) -> None:
        for path in self.refused():
            if subject_of(path.name) == subject:
                for each in (path, _beside(path, REASON)):
                    with suppress(FileNotFoundError):
                        each.replace(folder / f"{each.name}.refused")


def _files(folder: Path, *, every: bool = False) -> Iterator[tuple[Path, os.stat_result]]:
    """The regular files of a folder with their status; without `every` those that may be whole."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not every and (entry.name.startswith(".") or entry.name.lower().endswith(PARTIAL)):
                continue
            with suppress(FileNotFoundError):  # it was taken away meanwhile
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield Path(entry.path), status


def _signature(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def _write_new(path: Path, content: bytes) -> None:
    """In place of what somebody else has put there, and never into it, such as a link or a pipe."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.write(content)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _free(target: Path, sha256: str) -> Path:
    """The target, or another name in its folder if that is taken: nothing is written over."""
    target = target.with_name(os.fsdecode(os.fsencode(target.name)[:NAME_BYTES_AT_MOST]))
    names = (target.with_name(f"{target.name}.{sha256[:8]}{number or ''}") for number in itertools.count())
    return next(path for path in itertools.chain([target], names) if not os.path.lexists(path))
