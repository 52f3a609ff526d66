"""Transactions within the time of one message: its deadline holds for all of them together."""

import logging
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from actors.context import ActorContext
from persistence.connection.bisection import is_row_fault
from persistence.connection.database import Database
from persistence.connection.errors import DatabaseFailed, RowHeldUp
from persistence.locks import lock_tables_at_once, wait_briefly
from persistence.timelines import record_change

logger = logging.getLogger(__name__)

T = TypeVar("T")
LOCK_NOT_AVAILABLE, TIMED_OUT = "55P03", "57014"
# What of the message's time has to be left for another transaction to begin.
LEAST_SHARE = 0.25
LOCK_LOOK_SECONDS = 2.0


class DeadlineTransactions:
    """Runs transactions for an actor until the deadline of the message that it has in hand."""

    def __init__(self, context: ActorContext, database: Database) -> None:
        self._context = context
        self._database = database
        self._deadline = 0.0
        self._short_waits = False
        self._known_sessions = 0
        self._server_changed = False

    def begin(self) -> None:
        """A message is taken in hand: it has the time of one statement for all its work."""
        self._deadline = self._context.clock.monotonic() + self._context.settings.database.statement_timeout_seconds
        self._short_waits = False

    def seconds_left(self) -> float:
        return max(0.0, self._deadline - self._context.clock.monotonic())

    def has_time(self, share: float = LEAST_SHARE) -> bool:
        """Whether this share of the message's time is left: else it is not worth beginning another transaction."""
        return self.seconds_left() > share * self._context.settings.database.statement_timeout_seconds

    def run(self, work: Callable[[Connection], T]) -> T:
        """Runs a transaction; `work` may run several times. Raises RowHeldUp for a lock that is on no table.

        Else it raises as `Database.run` does. After a RowHeldUp the others of this message wait for locks but briefly.
        """

        def follow_and_work(connection: Connection) -> tuple[bool, T]:
            if self._short_waits:
                wait_briefly(connection)
            return self.record_server(connection), work(connection)

        try:
            changed, result = self._database.run(follow_and_work, self.seconds_left())
        except DatabaseFailed as error:
            if error.sqlstate == LOCK_NOT_AVAILABLE and not self.table_is_locked():
                self._short_waits = True
                raise RowHeldUp(str(error), error.sqlstate) from error
            raise
        self.recorded_server(changed=changed)
        return result

    def record_server(self, connection: Connection) -> bool:
        """Before all else on a new session, in its first transaction: whether the database stands elsewhere now."""
        seen = self._context.seen_server
        if self._known_sessions == self._database.sessions and not seen.changed:
            return False
        return record_change(connection, self._context.last_period_over(), changed=seen.changed)

    def recorded_server(self, *, changed: bool) -> None:
        """That transaction is committed."""
        self._known_sessions = self._database.sessions
        if changed:
            logger.warning(
                "the database stands elsewhere than before: the ERP is asked before it is offered what is open"
            )
            self._context.seen_server.changed, self._server_changed = False, True

    def take_server_changed(self) -> bool:
        """Whether the database was found elsewhere since the last call."""
        changed, self._server_changed = self._server_changed, False
        return changed

    def run_unless_refused(self, work: Callable[[Connection], T]) -> T | None:
        """As `run`; None if one row keeps it from being done."""
        try:
            return self.run(work)
        except Exception as error:  # whatever a row makes the work raise
            if not is_row_fault(error):
                raise
        return None

    def table_is_locked(self) -> bool:
        """Whether somebody has locked a whole table that is written to, or nothing can be asked at all."""
        try:
            with self._database.transaction(LOCK_LOOK_SECONDS) as connection:
                lock_tables_at_once(connection)
        except DatabaseFailed:
            return True
        return False
