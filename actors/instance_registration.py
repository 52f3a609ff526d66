"""The daemon's own row in the database: registration, the lock on its name, signs of life, a clean end."""

import logging
from collections.abc import Mapping
from datetime import UTC

from sqlalchemy import Connection

from actors.condition_reporter import ConditionReporter
from actors.context import ActorContext
from alarming.catalogue import Code
from billing.quarantine import backoff_seconds
from persistence import instances
from persistence.clock_step import CLOCKS_APART_SECONDS, clamp_times, clock_seconds
from persistence.instances import Registration, instance_lock_holder, session_number, try_instance_lock
from persistence.schema.migrate import check_schema

logger = logging.getLogger(__name__)

SIGN_OF_LIFE_SECONDS = 5.0
SIGN_OF_LIFE = "sign of life"
"""The subject of the alarm that there is none."""
# After ends by the daemon's own giving up a start waits before it works, longer each time.
LONGEST_START_DELAY_SECONDS = 300.0
# More than a clock that is slewed, not set, loses between two looks.
CLOCK_STEP_SECONDS = 1.0


class InstanceRegistration:
    """Registers this incarnation once, then gives signs of life; reports what it found."""

    def __init__(self, context: ActorContext, conditions: ConditionReporter) -> None:
        self._context = context
        self._conditions = conditions
        self._arrival: Registration | None = None
        self._reported = False
        self._name_is_ours = False
        self._session_number: int | None = None  # at the server, of the last session that had the name
        self._former_session_has_name = False
        self._seen_at = float("-inf")
        self._shown = True
        self._work_from = float("-inf")
        self._catching_up = False
        self._clock_ahead_seconds = float("-inf")  # of CLOCK_BOOTTIME, by the last look, at the least
        self._clamped = False  # the clock may have been set while no daemon looked
        self._apart_seconds = 0.0  # the database's clock from this machine's
        self._clocks_agree_again = False
        self._restored = False
        self._stuck: Mapping[str, str] = {}

    @property
    def registered(self) -> bool:
        return self._arrival is not None

    @property
    def must_show(self) -> bool:
        """Whether the next message has to show life, whatever the time: see `doubt`."""
        return self._seen_at == float("-inf")

    def doubt(self) -> None:
        """Something was not stored: the next look writes, so that its success says that writing works again."""
        self._seen_at = float("-inf")

    def may_work(self) -> bool:
        """Whether the name is ours and no wait after a giving up is left."""
        return self.registered and self._name_is_ours and self._context.clock.monotonic() >= self._work_from

    def show(self, connection: Connection) -> None:
        """Registers, or gives a sign of life when its time has come; follows the database's clock when it is set back.

        Raises SchemaMismatch and the like.
        """
        context = self._context
        # Asked at each look, since the lock lasts only as long as the session.
        self._name_is_ours = context.proved_alone or try_instance_lock(connection, context.instance)
        if not self._name_is_ours:
            holder = instance_lock_holder(connection, context.instance)  # None: it has ended since
            self._former_session_has_name = holder in (self._session_number, None)
            return
        self._session_number = session_number(connection)
        self._show(connection)
        self._follow_clock(connection)

    def _show(self, connection: Connection) -> None:
        context = self._context
        if self._arrival is None:
            check_schema(connection)
            self._arrival = instances.register(connection, context.instance, context.incarnation, context.version)
            self._stuck = self._arrival.stuck
            if gave_ups := self._arrival.gave_ups:
                delay = backoff_seconds(gave_ups, 1.0, LONGEST_START_DELAY_SECONDS)
                logger.warning("the last %s ends were its own giving up: work begins in %.0f s", gave_ups, delay)
                self._work_from = context.clock.monotonic() + delay
        elif not instances.is_registered(connection, context.instance, context.incarnation):
            check_schema(connection)
            instances.register_again(connection, context.instance, context.incarnation, context.version)
            self._restored = True
        elif context.clock.monotonic() - self._seen_at >= SIGN_OF_LIFE_SECONDS:
            self._shown = instances.heartbeat(connection, context.instance, context.incarnation)
            if not self._shown:
                return
        else:
            return
        self._seen_at = context.clock.monotonic()

    def catch_up(self, connection: Connection) -> None:
        """Looks whether what was found at the arrival is done; apart, so that no sign of life waits for invoices."""
        if self._catching_up:
            approved_only = self._context.as_claimer().approved_only
            self._catching_up = instances.left_over(connection, self._context.instance, approved_only=approved_only)

    def take_stuck(self) -> Mapping[str, str]:
        """The claims of predecessors that could not be freed, and why; once."""
        stuck, self._stuck = self._stuck, {}
        return stuck

    def _follow_clock(self, connection: Connection) -> None:
        """Times in the tables are the database's: once its clock is set back they lie too far ahead.

        Noticed by CLOCK_BOOTTIME, which can't be set. However long the question takes, it can't look like a step.
        """
        before = self._context.clock.boottime()
        clock = clock_seconds(connection)
        step_seconds = clock - before - self._clock_ahead_seconds
        self._clock_ahead_seconds = clock - self._context.clock.boottime()
        apart = clock - self._context.clock.wall().timestamp()
        self._clocks_agree_again |= abs(apart) <= CLOCKS_APART_SECONDS < abs(self._apart_seconds)
        self._apart_seconds = apart
        if step_seconds < -CLOCK_STEP_SECONDS:
            logger.warning("the database's clock went back by %.0f s: what waits by it is put right", -step_seconds)
            self._clamped = False
        if not self._clamped:
            settings = self._context.settings
            erp, lease_seconds = settings.erp, settings.work.lease_seconds
            waits = (erp.retry.max_seconds, erp.poll_interval_seconds, settings.billing.look_every_seconds)
            self._clamped = clamp_times(
                connection,
                # A longer Retry-After of one invoice is cut too: the ERP says it again.
                longest_wait_seconds=max(waits),
                lease_seconds=lease_seconds,
                # An operator's order holds its claim while offers end and the ERP is asked.
                longest_lease_seconds=lease_seconds + 3 * erp.total_timeout_seconds + 65,
            )

    def report(self) -> None:
        """Tells the alarms what was found: after the transaction, so that nothing is said that did not happen."""
        if not self._name_is_ours and self._former_session_has_name:
            logger.warning("a session that was left, or has just ended, held this daemon's name at the server")
            return
        if not self._name_is_ours:
            summary = f"another session holds the instance name {self._context.instance}"
            self._conditions.raise_condition(Code.INSTANCE_NAME_TAKEN, summary)
            return
        self._conditions.clear(Code.INSTANCE_NAME_TAKEN)
        if abs(apart := self._apart_seconds) > CLOCKS_APART_SECONDS:
            summary = (
                f"the database's clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} this machine's"
            )
            self._conditions.raise_condition(Code.CLOCKS_DISAGREE, summary)
        else:
            self._conditions.clear(Code.CLOCKS_DISAGREE)
        if self._shown:
            self._conditions.clear(Code.DATABASE_ERROR, SIGN_OF_LIFE)
        else:
            summary = f"another session has locked the row of {self._context.instance} in instances: no sign of life"
            self._conditions.raise_condition(Code.DATABASE_ERROR, summary, SIGN_OF_LIFE)
        if self._arrival is not None and not self._reported:
            self._reported = True
            self._report_absence(self._arrival)
        elif self._reported and not self._catching_up:
            self._conditions.clear(Code.DAEMON_WAS_DOWN)

    def take_agreement(self) -> bool:
        """Whether the clocks agree again since the last call: what was not made due meanwhile is to be."""
        again, self._clocks_agree_again = self._clocks_agree_again, False
        return again

    def take_restored(self) -> bool:
        """Whether the database was found set back since the last call; to be asked after `show` is committed."""
        restored, self._restored = self._restored, False
        if restored:
            logger.warning(
                "the database no longer knew this daemon: an older backup was put back; it is registered anew, and "
                "what it had in hand is taken up as the database has it now"
            )
        return restored

    def deregister(self) -> None:
        """Stores a clean end; raises as the database does."""
        context = self._context
        if self.registered and self._name_is_ours:
            seconds = context.settings.database.connect_timeout_seconds
            with context.connect("leaving") as database, database.transaction(seconds) as connection:
                instances.deregister(connection, context.instance, context.incarnation, "clean")

    def _report_absence(self, arrival: Registration) -> None:
        if arrival.down_seconds is None or arrival.down_since is None:
            return
        self._catching_up = True
        how = "gave up" if arrival.gave_ups else ("ended cleanly" if arrival.clean else "ended without a word")
        since = arrival.down_since.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        summary = (
            f"the daemon was down for {arrival.down_seconds:.0f} s since {since} and {how}; "
            f"{arrival.open_invoices} invoices are open, {arrival.freed} were in hand"
        )
        if arrival.alone_in_hand:
            summary += f"; {arrival.alone_in_hand} was alone in hand at the last ends"
        self._conditions.raise_condition(
            Code.DAEMON_WAS_DOWN,
            summary,
            context={
                "down_seconds": round(arrival.down_seconds, 1),
                "clean": arrival.clean,
                "open_invoices": arrival.open_invoices,
                "alone_in_hand": arrival.alone_in_hand,
            },
        )
