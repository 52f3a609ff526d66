"""The spool: the file in the state directory that keeps alarms over a restart, whatever else fails.

Append-only JSON lines, the last line of an id counts. An alarm's line is on disk (fsync) before anybody is told
of it; what happened to it since (said in the log, kept in the table) is noted without waiting for the disk. A line
that is torn, or isn't ours, is passed over. What can't be written is kept in memory and written with the next
that can.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from alarming.formats import from_spool, to_spool
from files.durable import sync_folder, write_all
from persistence.alarms import AlarmRecord

COMPACT_BYTES: Final = 1_000_000
"""The size beyond which the file is written anew with only what is of use."""

KEPT_AT_MOST: Final = 1000
"""How many cleared alarms are kept that the table has not got yet."""


@dataclass(frozen=True)
class Entry:
    """An alarm in the spool. `logged`: its line is in the log; `stored`: the table has it as it is here."""

    record: AlarmRecord
    logged: bool = False
    stored: bool = False


class Spool:
    """The file, and what is in it. No method raises for a disk that refuses: see `broken`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broken: str | None = None
        self.entries: dict[str, Entry] = {}
        self._behind = False  # the file lacks something that is in `entries`
        try:
            self._read(path.read_bytes())
        except FileNotFoundError:
            pass
        except OSError as error:
            self._fail(error)
        self._compact()

    def save(self, record: AlarmRecord, *, published: bool = False) -> None:
        """Puts an alarm as it is now on disk, before anybody is told (`published`: log and table have it already)."""
        self._put(Entry(record, logged=published, stored=published), durable=True)

    def mark(self, alarm_id: str, *, logged: bool = False, stored: AlarmRecord | None = None) -> None:
        """Notes that the alarm's line is in the log, or that the table has it as `stored` says."""
        entry = self.entries.get(alarm_id)
        if entry is None:
            return
        same = stored is not None and stored.cleared_at == entry.record.cleared_at
        record = entry.record
        if same and stored is not None:  # how far it has counted; its last instant stays that of its last line
            record = replace(record, count=stored.count, context=stored.context)
        marked = Entry(record, entry.logged or logged, entry.stored or same)
        if marked != entry:
            self._put(marked, durable=False)

    def mark_lost(self, alarm_id: str) -> None:
        self._put(replace(self.entries[alarm_id], stored=False), durable=False)

    def rename(self, old_id: str, record: AlarmRecord) -> None:
        entry = self.entries.pop(old_id, None)
        self._behind = True  # so that the old id goes from the file too
        self._put(Entry(record, logged=entry.logged if entry else False, stored=True), durable=True)

    def forget(self, alarm_ids: Iterable[str]) -> None:
        """Drops alarms that are of no more use; they leave the file when it is written anew."""
        for alarm_id in alarm_ids:
            self.entries.pop(alarm_id, None)

    def retry(self) -> None:
        if self._behind:
            self._compact()

    def _put(self, entry: Entry, *, durable: bool) -> None:
        self.entries.pop(entry.record.id, None)
        self.entries[entry.record.id] = entry
        self._limit()
        if self._behind:
            self._compact()
            return
        try:
            size = _write(self.path, os.O_APPEND, _line(entry), durable=durable)
        except OSError as error:
            self._fail(error)
            return
        self.broken = None
        if size > COMPACT_BYTES:
            self._compact()

    def _compact(self) -> None:
        """Writes the file anew beside the old one, and puts it in its place once it is on disk."""
        self._limit()
        beside = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _write(beside, os.O_TRUNC, b"".join(map(_line, self.entries.values())), durable=True)
            beside.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            self._fail(error)
            with suppress(OSError):
                beside.unlink(missing_ok=True)  # half a file only takes up what room there is
            return
        self._behind, self.broken = False, None

    def _limit(self) -> None:
        cleared = [i for i, entry in self.entries.items() if entry.record.cleared_at is not None]
        for alarm_id in cleared[: max(0, len(cleared) - KEPT_AT_MOST)]:
            del self.entries[alarm_id]

    def _fail(self, error: OSError) -> None:
        self._behind = True
        self.broken = f"{self.path}: {error.strerror or error}"

    def _read(self, content: bytes) -> None:
        for raw in content.split(b"\n"):
            try:
                line = json.loads(raw)
                entry = Entry(from_spool(line), bool(line["said"]), bool(line["stored"]))
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue  # torn by a crash or a full disk, or not ours
            self.entries.pop(entry.record.id, None)
            self.entries[entry.record.id] = entry


def _write(path: Path, how: int, content: bytes, *, durable: bool) -> int:
    """Writes to a file opened in this way; returns its size. Raises OSError."""
    descriptor = os.open(path, how | os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        write_all(descriptor, content)
        if durable:
            os.fsync(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _line(entry: Entry) -> bytes:
    content = to_spool(entry.record) | {"said": entry.logged, "stored": entry.stored}
    # The line end in front parts it from a line that was torn.
    return b"\n" + json.dumps(content, ensure_ascii=False, default=str).encode(errors="replace") + b"\n"
