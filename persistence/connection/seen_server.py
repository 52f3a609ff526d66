"""What was last seen of the database's server: refuses an old primary, and notices one that was set back."""

import logging
import threading
from pathlib import Path
from weakref import WeakSet

from files.opening import open_regular
from persistence.connection.errors import DatabaseUnreachable
from persistence.connection.session import Session
from persistence.connection.statements import Reader, Source, fetch_row, fetch_value

logger = logging.getLogger(__name__)

_POSITION = "(pg_current_wal_insert_lsn() - '0/0')::bigint"
# Not pg_control_checkpoint's: that one still names the old timeline until the checkpoint after a promotion is done.
SERVER = f"""SELECT (pg_control_system()).system_identifier,
    ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int AS timeline, {_POSITION} AS position"""
"""The server that answers, which is no standby: whose data it has, its timeline, and how much it has written."""


class SeenServer:
    """The last server that this process has seen, and with a file its predecessors; for all its connections.

    Each timeline begins with a promotion. So a server of a lower one is a primary of before, and what it has accepted
    since is lost. A position below the one seen means that an older state was put back.
    """

    def __init__(self, path: Path | None = None, *, only_refuses: bool = False) -> None:
        """With `only_refuses` it refuses by what the daemon has kept at `path`, and keeps and notes nothing itself."""
        self._only_refuses = only_refuses
        self.changed = False
        """Whether the server was found set back, or another, since somebody has put this right."""
        self._path = path
        self._unwritable = False
        self._lock = threading.Lock()
        self._sessions: WeakSet[Session] = WeakSet()
        self._system_identifier, self._timeline, self._position = self._read()

    def check(self, session: Session) -> None:
        """Looks which server a new session has come to. Raises DatabaseUnreachable for an old primary."""
        if self._only_refuses and self._system_identifier is None:
            return
        position_before = self._position
        system_identifier, timeline, position = fetch_row(Reader(session), SERVER)
        with self._lock:
            if system_identifier == self._system_identifier and timeline < self._timeline:
                raise DatabaseUnreachable(
                    f"database {session.where}: this server is on timeline {timeline}, and timeline {self._timeline} "
                    'was seen before: it is an old primary; end it, or see docs/database.md, "Failover"'
                )
            if self._only_refuses:
                return
            other = self._system_identifier not in (None, system_identifier)
            if other or (timeline == self._timeline and position < position_before):
                logger.warning("the database at %s is another or was set back: the ERP is asked first", session.where)
                self.changed, self._position = True, position
            if timeline != self._timeline:
                self._position = position
            left = [each for each in self._sessions if each.timeline < timeline]
            session.timeline = timeline
            self._sessions.add(session)
            self._system_identifier, self._timeline = system_identifier, timeline
            self._keep(position)
        for each in left:  # what waits for an old primary, perhaps a frozen one, has waited long enough
            each.unblock()

    def is_newer(self, timeline: int) -> bool:
        """Whether a server of a later timeline was seen than a session's; 0: nobody has looked at that one's."""
        return 0 < timeline < self._timeline

    def note_position(self, source: Source) -> None:
        """Remembers how far the server has written; in the transaction that has claimed what is to be offered."""
        position = fetch_value(source, f"SELECT {_POSITION}")
        with self._lock:
            self._keep(position)

    def _keep(self, position: int) -> None:
        self._position = max(self._position, position)
        if self._path is not None and self._system_identifier is not None:
            try:
                with open_regular(self._path, "w") as file:
                    file.write(f"{self._system_identifier} {self._timeline} {self._position}\n")
                self._unwritable = False
            except OSError as error:
                if not self._unwritable:  # said once, not with each claim
                    logger.warning("%s can't be written: %s", self._path, error.strerror)
                self._unwritable = True

    def _read(self) -> tuple[int | None, int, int]:
        if self._path is None:
            return None, 0, 0
        try:
            with open_regular(self._path, "r") as file:
                system_identifier, timeline, position = map(int, file.read().split())
        except FileNotFoundError:
            return None, 0, 0
        except (OSError, ValueError):
            self.changed = True  # half a file, or emptied by a person who accepts an older server
            return None, 0, 0
        return system_identifier, timeline, position
