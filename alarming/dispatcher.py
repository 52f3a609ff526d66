"""The dispatcher: carries out what the register decides, in the order that loses nothing: spool, log line, table."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from alarming.alarm import AlarmRecord, Now
from alarming.catalogue import Code
from alarming.conditions import ConditionActive, ConditionCleared, Severity
from alarming.formats import LOG_LEVELS, fields, line
from alarming.register import Action, AlarmRegister, Change, Identity, Outcome, Timing, Transient
from alarming.spool import Spool
from alarming.state_alarms import Look
from alarming.writer import Failed, Result, Stored
from persistence.errors import CredentialsRefused, DatabaseUnreachable

LOGGER: Final = logging.getLogger("billingd.alarms")
SUBJECT: Final = "alarms"
"""Who the alarms themselves are where they are in trouble."""

_STORE_EVERY_SECONDS = 10.0
_SPOOL_RETRY_SECONDS = 5.0
_BLIP_LINE_SECONDS = 60.0


class AlarmDispatcher:
    """One at a time: whoever has it calls it from one thread.

    `moment` is the time; `reached` is told each point between two steps, so that a test can end the process there.
    """

    def __init__(
        self,
        instance: str,
        spool: Spool,
        moment: Callable[[], Now],
        timing: Timing | None = None,
        reached: Callable[[str], object] = lambda _: None,
        over: set[Identity] | None = None,
    ) -> None:
        self.register = AlarmRegister(instance, timing, over=over)
        self.spool = spool
        self.changed = True  # something has to go to the table at once
        self.cleared: list[AlarmRecord] = []  # for the webhook, which takes them from here
        self.raised: Counter[str] = Counter()
        self._moment = moment
        self._reached = reached
        self._stored: dict[str, tuple[AlarmRecord, float]] = {}
        self._blip_said: dict[str, float] = {}
        self._spool_due = 0.0
        self._spool_told = False

    def open(self) -> None:
        """Goes on from the spool: what stood stands, and what was not said yet is said."""
        now = self._moment()
        for alarm_id, entry in list(self.spool.entries.items()):
            if entry.record.instance != self.register.instance:  # the daemon had another name: the table knows that one
                self.spool.forget([alarm_id])
            else:
                self.register.restore(entry.record, now)
                if not entry.said:
                    self._log(Change.RAISED if entry.record.cleared_at is None else Change.CLEARED, entry.record)
        self.tick()

    def activate(self, sign: ConditionActive) -> None:
        """Takes a sign of trouble."""
        self._carry_out(self.register.activate(sign, self._moment()))

    def clear(self, sign: ConditionCleared) -> None:
        """Takes a sign that all is well."""
        self._carry_out(self.register.clear(sign, self._moment()))

    def tick(self) -> None:
        """Lets time pass."""
        now = self._moment()
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

    def result(self, result: Result) -> None:
        """Takes what the table's keeper found."""
        if isinstance(result, Failed):
            unreachable = isinstance(result.error, DatabaseUnreachable | CredentialsRefused)
            code = Code.DATABASE_UNREACHABLE if unreachable else Code.DATABASE_ERROR
            if not unreachable:
                self.clear(ConditionCleared(Code.DATABASE_UNREACHABLE, subject=SUBJECT))
            self.activate(ConditionActive(code, str(result.error), subject=SUBJECT))
            return
        if isinstance(result, Stored):
            self._take_stored(result)
            return
        self.clear(ConditionCleared(Code.DATABASE_UNREACHABLE, subject=SUBJECT))
        self.clear(ConditionCleared(Code.DATABASE_ERROR, subject=SUBJECT))
        self._take_look(result)

    def unstored(self) -> list[AlarmRecord]:
        """What the table lacks: all that was raised or cleared, and from time to time what only went on counting."""
        now = self._moment().seconds
        cleared = [
            entry.record
            for entry in self.spool.entries.values()
            if entry.record.cleared_at is not None and not entry.stored
        ]
        return cleared + [record for record in self.register.standing() if self._lacks(record, now)]

    def _lacks(self, record: AlarmRecord, now_seconds: float) -> bool:
        stored, at_seconds = self._stored.get(record.id, (None, 0.0))
        entry = self.spool.entries.get(record.id)
        if stored is None or entry is None or not entry.stored:
            return True
        return stored != record and now_seconds - at_seconds >= _STORE_EVERY_SECONDS

    def _take_stored(self, result: Stored) -> None:
        record = result.mine
        if record.cleared_at is not None:
            self.spool.mark(record.id, stored=record)
            self._stored.pop(record.id, None)
            return
        if (result.table.id, result.table.acked_at) != (record.id, record.acked_at):
            record = self.register.adopt(record, result.table)
            if record.id == result.table.id != result.mine.id:
                self.spool.rename(result.mine.id, record)
                self._log(Change.UPDATED, record)
        self.spool.mark(record.id, stored=record)
        self._stored[record.id] = (record, self._moment().seconds)

    def _take_look(self, look: Look) -> None:
        now = self._moment()
        self._compare(look, now)
        self._carry_out(self.register.look(look.groups, now))
        self._carry_out(self.register.final(look.final, now))

    def _compare(self, look: Look, now: Now) -> None:
        """Makes good what a restored backup has made of the table: it may have what is over, and lack what stands.

        Results come in order: what the spool or `_stored` has as stored was stored before this look.
        """
        for record in look.standing:
            entry = self.spool.entries.get(record.id)
            if entry is None:
                if self.register.take_over(record, now):
                    self.spool.keep(record, told=True)
            elif entry.stored and entry.record.cleared_at is not None:
                self.spool.mark_lost(record.id)
                self.changed = True
        for alarm_id in self._stored.keys() - look.standing_ids:
            del self._stored[alarm_id]
            self.changed = True

    def _carry_out(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Action):
                self._reached("decided")
                self.spool.keep(outcome.record)
                self._reached("kept")
                self._log(outcome.change, outcome.record)
                self.changed = True
                if outcome.change is Change.RAISED:
                    self.raised[outcome.record.code] += 1
                elif outcome.change is Change.CLEARED:
                    self.cleared.append(outcome.record)
            else:
                self._log_transient(outcome)

    def _log(self, change: Change, record: AlarmRecord) -> None:
        level = logging.INFO if change is Change.CLEARED else LOG_LEVELS[Severity(record.severity)]
        LOGGER.log(level, "%s", line(change, record), extra=fields(change, record))
        self._reached("said")
        self.spool.mark(record.id, said=True)
        self._reached("noted")

    def _log_transient(self, blip: Transient) -> None:
        """A log line, but not one for each blip of many."""
        now = self._moment().seconds
        if now - self._blip_said.get(blip.code, float("-inf")) >= _BLIP_LINE_SECONDS:
            self._blip_said[blip.code] = now
            LOGGER.info("%s passed after %.1f s: %s", blip.code, blip.lasted_seconds, blip.summary)

    def _watch_spool(self, now: Now) -> None:
        if self.spool.broken is not None and now.seconds >= self._spool_due:
            self._spool_due = now.seconds + _SPOOL_RETRY_SECONDS
            self.spool.retry()
        broken = self.spool.broken
        if broken is not None and not self._spool_told:
            self._spool_told = True
            self.activate(ConditionActive(Code.ALARM_SPOOL_UNWRITABLE, f"the alarm spool can't be written: {broken}"))
        elif broken is None and self._spool_told:
            self._spool_told = False
            self.clear(ConditionCleared(Code.ALARM_SPOOL_UNWRITABLE))
