"""The actor that imports what comes into the inbox: whole files, oldest first, each in one transaction."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import cast

from sqlalchemy import Connection

from actors.condition_reporter import DATABASE_CODES, ConditionReporter, DatabaseBackoff, report_database_error
from actors.context import ActorContext
from actors.failpoints import failpoint
from actors.messages import DB_WRITER, Poll, try_tell
from actors.metrics import WaitingFiles
from actors.silent_meters import SilentMeters
from alarming.catalogue import Code
from files.content_id import content_id
from files.opening import open_regular
from intake.inbox import POSTED, REASON, Inbox, WaitingFile
from persistence import imports
from persistence.connection.errors import DatabaseFailed, PersistenceError, RowRefused
from persistence.connection.statements import fetch_value
from persistence.imports import Arrival
from persistence.master_data import MasterLimits, MasterRejected
from persistence.readings.importing import ReadingsRejected
from persistence.storable_text import clean_line
from supervision import Actor

logger = logging.getLogger("billingd.imports")

LOOK_SECONDS = 1.0
PUT_BACK_SECONDS = 10.0
NEWEST_BYTES = 64_000
"""Of a list of what was taken, some 500 files: what a failover or a backup has lost is among the newest."""
COMPARED_AT_ONCE = 2000
REMINDER_SECONDS = 60.0
INBOX = "inbox"
"""The subject of what is wrong with the inbox itself; of what is wrong with a file it is the file's name."""
NAMED_AT_MOST = 20
REFUSALS = (ReadingsRejected, MasterRejected, imports.KeyTaken, RowRefused)


class _FileChanged(Exception):  # noqa: N818 - it says what happened
    """The file was written to while it was imported: it was not whole."""


class _PutBack(Exception):  # noqa: N818 - it says what happened
    """Files wait again that are older than those of this look, which may need them."""


class Importer(Actor):
    """Looks every second. A file leaves the inbox after its transaction, so nothing is lost with the actor."""

    def __init__(self, context: ActorContext, attempts: Counter[str]) -> None:
        """`attempts`: how often each file has been begun and not ended; it outlives this actor."""
        super().__init__()
        self._context = context
        self._attempts = attempts
        folder = context.settings.intake.inbox
        self._inbox = None if folder is None else Inbox(folder, context.clock.monotonic)
        self._watch = context.connect("importer watch")
        self._database = context.connect("importer", heartbeat=self._heartbeat)
        self._backoff = DatabaseBackoff()
        self._began_seconds = 0.0
        self._not_before: dict[str, float] = {}
        self._failing: dict[str, Code] = {}  # by a file's name what is reported of it
        self._put_back_due_seconds = float("-inf")
        self._restored = False
        self._reported: tuple[list[Path], float] = ([], float("-inf"))
        self._imported = False
        self._silent = SilentMeters(context, self._database)

    def on_start(self) -> None:
        failpoint("importer.start")
        self._conditions = ConditionReporter(self.tell, DATABASE_CODES)
        for database in (self._database, self._watch):
            self.on_unblock(database.unblock)
        if self._inbox is not None:
            self.on_unblock(self._inbox.close)  # a successor must not wait for a thread that hangs
        self.every(LOOK_SECONDS, Poll())

    def on_receive(self, message: object) -> None:
        failpoint("importer.receive")
        if not isinstance(message, Poll):
            logger.warning("importer was told what it does not know: %r", message)
            return
        if message.restored:
            self._put_back_due_seconds, self._restored = 0.0, True
        try:
            if self._silent.look(self._conditions):
                self._conditions.clear_all(self.name)
            if self._inbox is not None:
                self._look(self._inbox)
        except _PutBack:
            self.after(0, Poll())
        except PersistenceError as error:
            report_database_error(self._conditions, error, self.name)
        except OSError as error:
            where = error.filename or self._context.settings.intake.inbox
            reason = (error.strerror or str(error)).lower()
            self._conditions.raise_condition(Code.INBOX_UNUSABLE, f"{where!s}: {reason}", INBOX)

    def on_stop(self) -> None:
        if self._inbox is not None:
            self._inbox.close()
        self._database.close()
        self._watch.close()

    def _look(self, inbox: Inbox) -> None:
        if not inbox.acquire():
            self._conditions.raise_condition(Code.INBOX_UNUSABLE, f"{inbox.folder}: another daemon works on it", INBOX)
            return
        waiting = inbox.waiting(self._context.settings.intake.settle_seconds)
        refused = inbox.refused()
        oldest = waiting[0].received_at.timestamp() if waiting else None
        size = sum(file.size_bytes for file in waiting)
        self._context.metrics.waiting_files = WaitingFiles(len(waiting), size, oldest, len(refused))
        self._report_refused(refused)
        for name in self._failing.keys() - {file.path.name for file in waiting}:
            self._clear_failing(name)
        self._work(inbox, [file for file in waiting if file.whole])

    def _work(self, inbox: Inbox, files: list[WaitingFile]) -> None:
        """Takes files for a second at most; one that fails keeps no other out."""
        clock = self._context.clock
        until = clock.monotonic() + LOOK_SECONDS
        if clock.monotonic() >= self._put_back_due_seconds:
            self._put_back_lost(inbox)
        for number, file in enumerate(files):
            if number and clock.monotonic() > until:
                self.after(0, Poll())
                break
            if self._not_before.get(file.path.name, 0.0) > clock.monotonic():
                continue
            try:
                self._take(inbox, file)
            except (OSError, DatabaseFailed) as error:
                self._report_failing(file.path, error)
                self._not_before[file.path.name] = clock.monotonic() + self._backoff.next_seconds()
                self._put_back_due_seconds = 0.0  # so that the next look asks the database, whatever waits then
        if self._imported:
            self._imported = False
            try_tell(self.tell, DB_WRITER, Poll())  # it need not wait for its next look
        inbox.check()
        if self._failing:  # the inbox itself works
            self._conditions.clear(Code.INBOX_UNUSABLE, INBOX)
            return
        self._backoff.reset()
        self._not_before.clear()
        self._conditions.clear(Code.INBOX_UNUSABLE)

    def _report_failing(self, path: Path, error: OSError | DatabaseFailed) -> None:
        """The file is the subject: what works for others, or for the next look at the inbox, is no success of it."""
        if isinstance(error, DatabaseFailed):
            self._conditions.clear(Code.DATABASE_UNREACHABLE, self.name)
            code, reason = Code.DATABASE_ERROR, str(error)
        else:
            code, reason = Code.INBOX_UNUSABLE, f"{error.filename or path!s}: {(error.strerror or str(error)).lower()}"
        if self._failing.get(path.name) != code:
            self._clear_failing(path.name)
        self._failing[path.name] = code
        self._conditions.raise_condition(code, clean_line(reason), clean_line(path.name))

    def _clear_failing(self, name: str) -> None:
        if code := self._failing.pop(name, None):
            self._conditions.clear(code, clean_line(name))

    def _take(self, inbox: Inbox, file: WaitingFile) -> None:
        """Imports a file or refuses it, then moves it. Raises OSError and PersistenceError, and leaves it then."""
        name = file.path.name
        failpoint("importer.take")
        self._attempts[name] += 1
        self._began_seconds = self._context.clock.monotonic()
        try:
            arrival = self._arrival(file)
            if self._attempts[name] > self._context.settings.work.max_attempts:
                self._refuse(inbox, file, arrival, [f"{file.path}: importing it ended the importer again and again"])
            else:
                self._import(inbox, file, arrival)
        except (_FileChanged, FileNotFoundError):
            logger.info("%s changed or went while it was read: it is looked at again", file.path)
        except (OSError, PersistenceError, _PutBack):
            del self._attempts[name]  # no fault of the file's
            raise
        self._attempts.pop(name, None)
        self._clear_failing(name)

    def _import(self, inbox: Inbox, file: WaitingFile, arrival: Arrival) -> None:
        def work(connection: Connection) -> str | None:
            note = imports.known(connection, arrival)
            if note is None:
                report = imports.import_file(
                    connection, arrival, file.path, progress=lambda _: self.sign_of_life(),
                    limits=MasterLimits(self._context.settings.billing.time_zone, self._context.due_periods),
                    now=self._context.now(),
                )  # fmt: skip
                rows[:] = [getattr(report, "rows", 0)]
                corrections[:] = report.corrections()
                failpoint("importer.import")
                if file.has_changed():
                    raise _FileChanged
            return note

        rows: list[int] = [0]
        corrections: list[str] = []
        try:
            note = self._database.run(work)
        except REFUSALS as error:
            self._put_back_lost(inbox)
            reasons = error.problems if isinstance(error, MasterRejected) else [str(error)]
            self._refuse(inbox, file, arrival, reasons)
            return
        failpoint("importer.imported")
        if corrections:
            logger.warning("%s leaves as it was: %s", arrival.name, ", ".join(corrections[:NAMED_AT_MOST]))
        inbox.take(file, arrival.sha256, self._context.clock.wall(), note or "\n".join(corrections) or None)
        self._count(arrival, "known" if note else "imported", note or f"{rows[0]} rows")
        self._context.metrics.imported_rows.inc(rows[0])
        self._imported = True
        if arrival.kind == "master" and note is None:
            # Readings that came before the master data of their meters.
            for path in inbox.refused():
                if imports.kind_of(path) == "readings":
                    inbox.put_back(path)

    def _refuse(self, inbox: Inbox, file: WaitingFile, arrival: Arrival, reasons: list[str]) -> None:
        self._database.run(lambda connection: imports.record_refusal(connection, arrival, reasons))
        inbox.refuse(file, arrival.sha256, reasons)
        self._count(arrival, "refused", reasons[0])

    def _count(self, arrival: Arrival, state: str, what: str) -> None:
        metrics, took_seconds = self._context.metrics, self._context.clock.monotonic() - self._began_seconds
        metrics.imports.labels(arrival.kind, state).inc()
        metrics.import_seconds.labels(arrival.kind, state).observe(took_seconds)
        logger.info("%s %s from %s %s: %s", arrival.kind, arrival.name, arrival.source, state, what)
        self._conditions.clear_all(self.name)

    def _arrival(self, file: WaitingFile) -> Arrival:
        sha256 = imports.sha256_of(file.path, self.sign_of_life)
        posted = POSTED.fullmatch(file.path.name)
        kind = cast(imports.Kind, posted[3]) if posted else imports.kind_of(file.path)
        source = f"http:{posted[2]}" if posted else "inbox"
        name = os.fsencode(file.path.name).decode("utf-8", "backslashreplace")
        import_id = posted[1] if posted else content_id(sha256)
        return Arrival(import_id, sha256, kind, name, source, file.received_at)

    def _put_back_lost(self, inbox: Inbox) -> None:
        """Lets files wait again that were taken and that a failover or an older backup lost. Raises _PutBack then.

        The newest are compared; all, however many gateways have brought, only once the newest are not all there.
        """
        lost = 0
        if self._restored or next(self._lost(inbox.done(NEWEST_BYTES)), None):
            for path in self._lost(inbox.done()):
                logger.warning("the database does not have %s, which was imported: it is imported again", path)
                inbox.put_back(path)
                lost += 1
        self._restored = False
        self._put_back_due_seconds = self._context.clock.monotonic() + PUT_BACK_SECONDS
        self._conditions.clear_all(self.name)
        if lost:
            raise _PutBack

    def _lost(self, done: Iterator[tuple[str, Path]]) -> Iterator[Path]:
        """Those of these that the database does not have."""
        while taken := list(islice(done, COMPARED_AT_ONCE)):
            sums = [sha256 for sha256, _ in taken]
            missing = self._database.run(partial(imports.not_imported, sha256s=sums))
            self.sign_of_life()
            yield from (path for sha256, path in taken if sha256 in missing)

    def _report_refused(self, refused: list[Path]) -> None:
        """Reports at each change, and again after a while, since a report may be lost."""
        now = self._context.clock.monotonic()
        if not refused:
            self._conditions.clear(Code.IMPORT_REFUSED)
        elif refused != self._reported[0] or now > self._reported[1] + REMINDER_SECONDS:
            self._reported = (refused, now)
            reasons = refused[-1].with_name(refused[-1].name + REASON)
            first = ""
            with suppress(OSError), open_regular(reasons, "r", encoding="utf-8", errors="replace") as file:
                first = file.readline(1000).strip() or "no reason"
            number = f"{len(refused)} file{'s' if len(refused) > 1 else ''}"
            self._conditions.raise_condition(
                Code.IMPORT_REFUSED,
                clean_line(f"{number} refused, the last is {refused[-1].name}: {first}"),
                context={"files": [clean_line(each.name) for each in refused[-20:]], "number": len(refused)},
            )

    def _heartbeat(self, waits: bool) -> None:
        """A statement begins, or its answer is waited for: progress, as long as the database answers another one."""
        if waits:
            try:
                self._watch.run(lambda connection: fetch_value(connection, "SELECT 1"))
            except PersistenceError as error:
                raise OSError(str(error)) from error
        self.sign_of_life()
