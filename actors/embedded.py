"""The actor that keeps the embedded database server up and its schema current, for as long as the daemon lives."""

import logging

from actors.condition_reporter import DATABASE_CODES, ConditionReporter, report_database_error
from actors.messages import Poll
from persistence.connection.database import Database
from persistence.connection.errors import DatabaseUnreachable, PersistenceError
from persistence.embedded.server import EmbeddedServer
from persistence.schema import migrate
from supervision import Actor

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
RECOVERY_IS_LONG_SECONDS = 5.0


class EmbeddedDatabase(Actor):
    """Makes the cluster at the very first start, before the others; then starts, adopts and migrates the server.

    A recovery lasts as long as it takes: meanwhile the others find no server, and this one says why.
    """

    def __init__(self, server: EmbeddedServer) -> None:
        super().__init__()
        self._server = server
        self._current = False

    def on_start(self) -> None:
        self._conditions = ConditionReporter(self.tell, DATABASE_CODES)
        try:
            self._server.settings()
        except DatabaseUnreachable:
            self._ensure()
        self.after(0, Poll())
        self.every(LOOK_SECONDS, Poll())

    def on_receive(self, message: object) -> None:
        if not isinstance(message, Poll):
            logger.warning("embedded_database was told what it does not know: %r", message)
            return
        try:
            self._ensure()
        except PersistenceError as error:
            report_database_error(self._conditions, error, self.name)
        else:
            self._conditions.clear_all(self.name)

    def _ensure(self) -> None:
        if self._current and self._server.pid is not None:
            return
        with self.waiting():
            self._server.start_or_adopt(self._recovering)
        with Database(self._server.settings().without_limits()) as database:
            migrate.upgrade(database)
        self._current = True

    def _recovering(self, seconds: float) -> None:
        if self.stopping:
            raise DatabaseUnreachable("the daemon stops while its database server recovers")
        if seconds >= RECOVERY_IS_LONG_SECONDS:
            trouble = DatabaseUnreachable(f"the embedded server has been recovering for {seconds:.0f} s")
            report_database_error(self._conditions, trouble, self.name)
