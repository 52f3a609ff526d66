"""The actor that closes the books: says when a month is closed, and makes each day's root of the audit trail."""

import logging

from actors.condition_reporter import DATABASE_CODES, ConditionReporter, report_database_error
from actors.context import ActorContext
from actors.messages import ALARMS, Poll, try_tell
from alarming.actor import Announce
from alarming.webhook import Notice
from persistence.clock_step import clocks_agree, database_now
from persistence.connection.errors import DatabaseFailed, PersistenceError
from persistence.invoices import audit, due_invoices, period_closing
from persistence.invoices.period_closing import Closing
from supervision import Actor, Timer

logger = logging.getLogger("billingd.books")

LOOK_SECONDS = 5.0
RETRY_SECONDS = 1.0
ROOT_LOOK_SECONDS = 60.0
LOCK_NOT_AVAILABLE = "55P03"


class Bookkeeper(Actor):
    """Looks every few seconds; whatever it has to say follows from the database, so nothing is lost with it."""

    def __init__(self, context: ActorContext) -> None:
        super().__init__()
        self._context = context
        self._database = context.connect("bookkeeper")
        self._root_due_seconds = float("-inf")
        self._retry: Timer | None = None

    def on_start(self) -> None:
        self._conditions = ConditionReporter(self.tell, DATABASE_CODES)
        self.on_unblock(self._database.unblock)
        self.every(LOOK_SECONDS, Poll())

    def on_receive(self, message: object) -> None:
        if not isinstance(message, Poll):
            logger.warning("bookkeeper was told what it does not know: %r", message)
            return
        try:
            self._close_periods()
            self._make_root()
        except PersistenceError as error:
            report_database_error(self._conditions, error, self.name)
            if self._retry is None or not self._retry.pending:  # before an alarm is due
                self._retry = self.after(RETRY_SECONDS, Poll())
        else:
            self._conditions.clear_all(self.name)

    def on_stop(self) -> None:
        self._database.close()

    def _close_periods(self) -> None:
        deadline = self._context.settings.database.statement_timeout_seconds
        with self._database.transaction(deadline) as connection:
            first = due_invoices.first_billed_period(connection)
            if first is not None and clocks_agree(connection, self._context.clock.wall()):
                period_closing.close_periods(
                    connection, self._context.due_periods(first), self._context.settings.billing.time_zone
                )
        with self._database.transaction(deadline) as connection:
            for closing in period_closing.take_untold(connection):
                self._log(closing)  # before it counts as said: a kill in between says it twice, never not at all
            known = period_closing.last_closings(connection)
            root = audit.last_root(connection)
            now = database_now(connection)
        self._context.metrics.closings = tuple(known)
        notices = [Notice("period_closed", each.period, str(each), each.closed_at) for each in known]
        if root is not None:
            notices.append(Notice("audit_root", str(root.day), str(root), root.at))
        try_tell(self.tell, ALARMS, Announce(tuple(each for each in notices if now < each.ends_at)))

    def _log(self, closing: Closing) -> None:
        logger.info(
            "%s", closing,
            extra={
                "BILLINGD_PERIOD_CLOSED": closing.period,
                "BILLINGD_REGISTERED": str(closing.registered),
                "BILLINGD_ABORTED": str(closing.aborted),
                "BILLINGD_TOTAL_EUR": str(closing.total_eur),
                "BILLINGD_TAX_EUR": str(closing.tax_eur),
                "BILLINGD_TOTAL_WITH_TAX_EUR": str(closing.total_with_tax_eur),
            },
        )  # fmt: skip

    def _make_root(self) -> None:
        now = self._context.clock.monotonic()
        if now < self._root_due_seconds:
            return
        with self._database.transaction(self._context.settings.database.statement_timeout_seconds) as connection:
            agree = clocks_agree(connection, self._context.clock.wall())
            day = audit.day_without_root(connection) if agree else None
        if day is not None:
            try:
                with self._database.transaction() as connection:
                    position = audit.settled_position(connection)
            except DatabaseFailed as error:
                if error.sqlstate == LOCK_NOT_AVAILABLE:
                    return  # somebody writes at length: at the next look
                raise
            if position:
                with self._database.transaction() as connection:
                    root = audit.make_root(connection, day, position)
                if root is not None:
                    logger.info(
                        "%s", root, extra={"BILLINGD_AUDIT_ROOT": root.root, "BILLINGD_AUDIT_DAY": str(root.day)}
                    )
        self._root_due_seconds = now + ROOT_LOOK_SECONDS
