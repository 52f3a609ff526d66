"""Files that are posted: on disk, whole, and in the inbox before anybody is told that they were taken."""

import hashlib
import os
import re
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Literal

from files.content_id import content_id
from files.durable import sync_folder, write_all
from files.opening import open_regular
from intake.inbox import POSTED

SPOOL = ".spool"
COUNTED_SECONDS = 1.0
_NOT_OF_A_PEER = re.compile(r"[^0-9A-Za-z.:%_-]")


class KeyTaken(ValueError):  # noqa: N818 - named for what is so
    """Other content waits under the same key."""


class Postbox:
    """The way into one inbox, for any thread. Every method raises OSError for a file system that refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._counted = (float("-inf"), 0)
        self._opened = False

    def waiting_bytes(self) -> int:
        """What waits in the inbox and in the spool, counted at most every second."""
        with self._lock:
            at, size = self._counted
            if time.monotonic() - at > COUNTED_SECONDS:
                self._open()
                size = 0
                for folder in (self.folder, self.folder / SPOOL):
                    with os.scandir(folder) as entries:
                        for entry in entries:
                            with suppress(FileNotFoundError):
                                size += entry.stat().st_size if entry.is_file(follow_symlinks=False) else 0
                self._counted = (time.monotonic(), size)
            return size

    def is_waiting(self, import_id: str) -> bool:
        """Whether what was posted with this id is still to be imported."""
        with os.scandir(self.folder) as entries:
            return any(entry.name.startswith(f"{import_id}@") and POSTED.fullmatch(entry.name) for entry in entries)

    def accept(self, upload: "Upload", kind: Literal["readings", "master"], key: str | None, peer: str) -> str:
        """Puts a whole upload into the inbox, on disk; returns its id. Raises KeyTaken.

        The same again while it waits is one file. Without a key the id follows from the content.
        """
        sha256 = upload.finish()
        import_id = content_id(sha256 if key is None else hashlib.sha256(f"key {key}".encode()).hexdigest())
        target = self.folder / f"{import_id}@{_NOT_OF_A_PEER.sub('_', peer)[:60]}.{kind}"
        with self._lock:
            if key is not None and _sha256_if_there(target) not in (None, sha256):
                raise KeyTaken
            upload.path.replace(target)
            self._counted = (self._counted[0], self._counted[1] + upload.size_bytes)
        sync_folder(self.folder)
        return import_id

    def _open(self) -> None:
        """Makes the spool, and takes away what a process that was killed has left in it."""
        spool = self.folder / SPOOL
        spool.mkdir(exist_ok=True)
        if not self._opened:
            for left in spool.iterdir():
                left.unlink()
        self._opened = True


class Upload:
    """A body on its way to the disk; to be closed, whatever becomes of it."""

    def __init__(self, postbox: Postbox) -> None:
        self.path = postbox.folder / SPOOL / uuid.uuid4().hex  # of no other process that has the same folder
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)

    def write(self, content: bytes) -> None:
        write_all(self._descriptor, content)
        self._digest.update(content)
        self.size_bytes += len(content)

    def finish(self) -> str:
        """Puts it on disk; returns its SHA-256."""
        os.fsync(self._descriptor)
        return self._digest.hexdigest()

    def close(self) -> None:
        """Leaves nothing behind of what was not accepted."""
        os.close(self._descriptor)
        self.path.unlink(missing_ok=True)


def _sha256_if_there(path: Path) -> str | None:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
