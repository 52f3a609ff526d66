"""Transactions within the time of one message: its deadline holds for all of them together."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from actors.context import ActorContext
from persistence.connection.bisection import is_row_fault
from persistence.connection.database import Database
from persistence.connection.errors import DatabaseFailed, RowHeldUp
from persistence.locks import lock_tables_at_once, wait_briefly

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

    def begin(self) -> None:
        """A message is taken in hand: it has the time of one statement for all its work."""
        self._deadline = self._context.clock.monotonic() + self._context.settings.database.statement_timeout_seconds
        self._short_waits = False

    def seconds_left(self) -> float:
        """Until the deadline."""
        return max(0.0, self._deadline - self._context.clock.monotonic())

    def has_time(self, share: float = LEAST_SHARE) -> bool:
        """Whether this share of the message's time is left: else it is not worth beginning another transaction."""
        return self.seconds_left() > share * self._context.settings.database.statement_timeout_seconds

    def run(self, work: Callable[[Connection], T]) -> T:
        """Runs a transaction; `work` may run several times. Raises RowHeldUp for a lock that is on no table.

        Else it raises as `Database.run` does. After a RowHeldUp the others of this message wait for locks but briefly.
        """
        try:
            return self._database.run(lambda connection: self._briefly(connection, work), self.seconds_left())
        except DatabaseFailed as error:
            if error.sqlstate == LOCK_NOT_AVAILABLE and not self.table_is_locked():
                self._short_waits = True
                raise RowHeldUp(str(error), error.sqlstate) from error
            raise

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

    def _briefly(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        if self._short_waits:
            wait_briefly(connection)
        return work(connection)
