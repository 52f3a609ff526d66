"""The dispatcher: carries out what the register decides, in the order that loses nothing: spool, log line, table."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from alarming.alarm import Now
from alarming.background import Failed, Result, Stored
from alarming.catalogue import Code
from alarming.conditions import Condition, ConditionActive, ConditionCleared
from alarming.formats import LOG_LEVELS, fields, line
from alarming.register import AlarmRegister, Change, Identity, Outcome, Timing, Transient
from alarming.spool import Spool
from persistence.alarms import AlarmRecord, AlarmState

LOGGER: Final = logging.getLogger("billingd.alarms")
SUBJECT: Final = "alarms"
"""The subject of the conditions that the alarms report of themselves."""

_STORE_EVERY_SECONDS = 10.0
_SPOOL_RETRY_SECONDS = 5.0
_TRANSIENT_LINE_SECONDS = 60.0


class AlarmDispatcher:
    """Used by one thread at a time.

    `now` is the time; `cleared` is that of the register, which it outlives.
    `reached` is told each point between two steps, so that a test can end the process there.
    """

    def __init__(
        self,
        instance: str,
        spool: Spool,
        now: Callable[[], Now],
        timing: Timing | None = None,
        reached: Callable[[str], object] = lambda _: None,
        cleared: set[Identity] | None = None,
    ) -> None:
        self.register = AlarmRegister(instance, timing, cleared=cleared)
        self.spool = spool
        self.changed = True  # something has to go to the table at once
        self.cleared: list[AlarmRecord] = []  # for the webhook, which takes them from here
        self.raised: Counter[str] = Counter()
        self._now = now
        self._reached = reached
        self._stored: dict[str, tuple[AlarmRecord, float]] = {}
        self._transient_logged_seconds: dict[str, float] = {}
        self._spool_due_seconds = 0.0
        self._spool_reported = False

    def open(self) -> None:
        """Goes on from the spool: what stood stands, and what was not logged yet is logged."""
        now = self._now()
        for alarm_id, entry in list(self.spool.entries.items()):
            if entry.record.instance != self.register.instance:  # the daemon had another name: the table knows that one
                self.spool.forget([alarm_id])
            else:
                self.register.restore(entry.record, now)
                if not entry.logged:
                    self._log(Change.RAISED if entry.record.cleared_at is None else Change.CLEARED, entry.record)
        self.tick()

    def report(self, condition: Condition) -> None:
        if isinstance(condition, ConditionActive):
            self._carry_out(self.register.activate(condition, self._now()))
        else:
            self._carry_out(self.register.clear(condition, self._now()))

    def tick(self) -> None:
        now = self._now()
        self._carry_out(self.register.tick(now))
        self._watch_spool(now)
        over = [
            alarm_id
            for alarm_id, entry in self.spool.entries.items()
            if entry.stored
            and entry.record.cleared_at is not None
            and (now.at - entry.record.cleared_at).total_seconds() > self.register.timing.reopen_seconds
        ]
        self.spool.forget(over)

    def take_result(self, result: Result) -> None:
        """Takes what came of writing to the table and of reading the database's state."""
        if isinstance(result, Failed):
            unreachable = result.error.away
            code = Code.DATABASE_UNREACHABLE if unreachable else Code.DATABASE_ERROR
            if not unreachable:
                self.report(ConditionCleared(Code.DATABASE_UNREACHABLE, subject=SUBJECT))
            self.report(ConditionActive(code, str(result.error), subject=SUBJECT))
            if result.state is not None:
                self._take_state(result.state)
        elif isinstance(result, Stored):
            self._take_stored(result)
        else:
            self.report(ConditionCleared(Code.DATABASE_UNREACHABLE, subject=SUBJECT))
            self.report(ConditionCleared(Code.DATABASE_ERROR, subject=SUBJECT))
            self._take_state(result)

    def unstored(self) -> list[AlarmRecord]:
        """What the table lacks: all that was raised or cleared, and from time to time what only went on counting."""
        now_seconds = self._now().seconds
        cleared = [
            entry.record
            for entry in self.spool.entries.values()
            if entry.record.cleared_at is not None and not entry.stored
        ]
        return cleared + [record for record in self.register.standing() if self._lacks(record, now_seconds)]

    def _lacks(self, record: AlarmRecord, now_seconds: float) -> bool:
        stored, stored_seconds = self._stored.get(record.id, (None, 0.0))
        entry = self.spool.entries.get(record.id)
        if stored is None or entry is None or not entry.stored:
            return True
        return stored != record and now_seconds - stored_seconds >= _STORE_EVERY_SECONDS

    def _take_stored(self, result: Stored) -> None:
        record = result.mine
        if record.cleared_at is not None:
            self.spool.mark(record.id, stored=record)
            self._stored.pop(record.id, None)
            return
        if (result.table.id, result.table.acked_at) != (record.id, record.acked_at):
            record = self.register.adopt_id(record, result.table)
            if record.id == result.table.id != result.mine.id:
                self.spool.rename(result.mine.id, record)
                self._log(Change.UPDATED, record)
        self.spool.mark(record.id, stored=record)
        self._stored[record.id] = (record, self._now().seconds)

    def _take_state(self, state: AlarmState) -> None:
        now = self._now()
        self._compare(state, now)
        self._carry_out(self.register.follow(state.groups, now))
        self._carry_out(self.register.clear_final(state.final, now))

    def _compare(self, state: AlarmState, now: Now) -> None:
        """Corrects the table after a restored backup: it may have what is cleared, and lack what stands.

        Results come in order: what the spool or `_stored` has as stored was stored before this state was read.
        """
        for record in state.standing:
            entry = self.spool.entries.get(record.id)
            if entry is None:
                if self.register.adopt(record, now):
                    self.spool.save(record, published=True)
            elif entry.stored and entry.record.cleared_at is not None:
                self.spool.mark_lost(record.id)
                self.changed = True
        for alarm_id in self._stored.keys() - state.standing_ids:
            del self._stored[alarm_id]
            self.changed = True

    def _carry_out(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Transient):
                self._log_transient(outcome)
                continue
            self._reached("decided")
            self.spool.save(outcome.record)
            self._reached("spooled")
            self._log(outcome.change, outcome.record)
            self.changed = True
            if outcome.change is Change.RAISED:
                self.raised[outcome.record.code] += 1
            elif outcome.change is Change.CLEARED:
                self.cleared.append(outcome.record)

    def _log(self, change: Change, record: AlarmRecord) -> None:
        level = logging.INFO if change is Change.CLEARED else LOG_LEVELS[record.severity]
        LOGGER.log(level, "%s", line(change, record), extra=fields(change, record))
        self._reached("logged")
        self.spool.mark(record.id, logged=True)
        self._reached("noted")

    def _log_transient(self, transient: Transient) -> None:
        """A log line, but not one for each of many."""
        now_seconds, code = self._now().seconds, transient.code
        if now_seconds - self._transient_logged_seconds.get(code, float("-inf")) >= _TRANSIENT_LINE_SECONDS:
            self._transient_logged_seconds[code] = now_seconds
            LOGGER.info("%s passed after %.1f s: %s", code, transient.lasted_seconds, transient.summary)

    def _watch_spool(self, now: Now) -> None:
        if self.spool.broken is not None and now.seconds >= self._spool_due_seconds:
            self._spool_due_seconds = now.seconds + _SPOOL_RETRY_SECONDS
            self.spool.retry()
        broken = self.spool.broken
        if broken is not None and not self._spool_reported:
            self._spool_reported = True
            self.report(ConditionActive(Code.ALARM_SPOOL_UNWRITABLE, f"the alarm spool can't be written: {broken}"))
        elif broken is None and self._spool_reported:
            self._spool_reported = False
            self.report(ConditionCleared(Code.ALARM_SPOOL_UNWRITABLE))
