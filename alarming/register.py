"""The register of an instance's alarms: takes conditions and time, says what is raised, updated and cleared."""

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from alarming.alarm import Alarm, Now, restore_alarm
from alarming.catalogue import CATALOGUE, ClearRule, Code
from alarming.conditions import ConditionActive, ConditionCleared
from persistence.alarms import AlarmRecord, Group

RAISE_AFTER: Final = 0.8
"""The part of `raise_within_seconds` after which a condition that stays is an alarm; the rest is margin."""

REOPEN_SECONDS: Final = 600.0
"""What comes back within this time of being cleared is the same alarm (never longer than the quiet time)."""

LINE_EVERY_SECONDS: Final = 60.0
"""The least time between the lines of an alarm whose count grows tenfold."""

LINE_RESTART_SECONDS: Final = 120.0
"""The least time between the lines of an alarm that each of many restarts reports again."""

LINE_AGAIN_SECONDS: Final = 3600.0
"""After how long an alarm that went on counting gets another line."""

CLOSED_AT_MOST: Final = 1000
"""How many cleared alarms are kept in mind, so that memory stays bounded."""

_HOLD_SECONDS = 20.0
_NEVER_REOPENED = (Code.INVOICE_ABORTED, Code.ALARM_TEST)


class Change(StrEnum):
    """What happened to an alarm; also the value of its line's field BILLINGD_ALARM_STATE."""

    RAISED = "raised"
    UPDATED = "updated"
    CLEARED = "cleared"


@dataclass(frozen=True)
class Action:
    change: Change
    record: AlarmRecord


@dataclass(frozen=True)
class Transient:
    """A condition that was cleared before it was an alarm."""

    code: str
    summary: str
    lasted_seconds: float


@dataclass(frozen=True)
class Timing:
    """The settings that the register goes by (`alarms.*` and `supervision.window_seconds`)."""

    raise_within_seconds: float = 5.0
    quiet_seconds: float = 3600.0
    window_seconds: float = 60.0

    @property
    def reopen_seconds(self) -> float:
        """Within how long of being cleared an alarm that comes back is the same."""
        return min(REOPEN_SECONDS, self.quiet_seconds)


Outcome = Action | Transient
Identity = tuple[str, str]
"""Code and key."""


class AlarmRegister:
    """The alarms of one instance. Pure: the caller brings the time and carries out what is returned.

    `cleared`: the identities that this process has found cleared since they were last active. Who outlives the
    register keeps it.
    """

    def __init__(self, instance: str, timing: Timing | None = None, cleared: set[Identity] | None = None) -> None:
        self.instance = instance
        self.timing = timing or Timing()
        self.transients: Counter[str] = Counter()
        self._open: dict[Identity, Alarm] = {}
        self._closed: dict[Identity, tuple[float, Alarm]] = {}
        self._cleared = set() if cleared is None else cleared
        self._unmuted: dict[str, float] = {}

    def activate(self, report: ConditionActive, now: Now) -> list[Outcome]:
        alarm = self._alarm(report.code, report.key or self.instance, report, now)
        self._cleared.discard((alarm.code, alarm.key))
        ends_after_seconds = report.clear_after_seconds
        if ends_after_seconds is None and alarm.clear_rule is ClearRule.QUIET:
            ends_after_seconds = self.timing.quiet_seconds
        alarm.activate(report, now, ends_after_seconds)
        return self._evaluate(alarm, now)

    def clear(self, report: ConditionCleared, now: Now) -> list[Outcome]:
        identity = report.code, report.key or self.instance
        alarm = self._open.get(identity)
        if alarm is None:
            self._cleared.add(identity)
            return []
        alarm.clear(report.subject)
        return self._evaluate(alarm, now)

    def clear_final(self, invoice_ids: Iterable[str], now: Now) -> list[Outcome]:
        """These invoices need nothing more of anybody (another daemon or a person may have seen to them)."""
        ids = set(invoice_ids)
        outcomes: list[Outcome] = []
        for alarm in list(self._open.values()) if ids else ():
            for subject in ids & alarm.active_subjects.keys():
                if alarm.active_subjects[subject].ends_seconds is None:
                    del alarm.active_subjects[subject]
            outcomes += self._evaluate(alarm, now)
        return outcomes

    def follow(self, groups: Sequence[Group], now: Now) -> list[Outcome]:
        """What the state of the invoices asks for, all of it: what isn't there any more is over."""
        outcomes: list[Outcome] = []
        wanted = {(group.code, group.key): group for group in groups}
        for (code, key), group in wanted.items():
            alarm = self._alarm(code, key, None, now)
            alarm.follow(group, now)
            outcomes += self._evaluate(alarm, now)
        for identity, alarm in list(self._open.items()):
            if identity not in wanted and (alarm.group is not None or alarm.awaits_state):
                alarm.group, alarm.awaits_state = None, False
                outcomes += self._evaluate(alarm, now)
        return outcomes

    def tick(self, now: Now) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for alarm in list(self._open.values()):
            alarm.expire(now)
            # What only rows ask for is raised by a look at them: since the last one they may have moved on.
            if alarm.standing or alarm.group is None or alarm.active_subjects:
                outcomes += self._evaluate(alarm, now)
        for identity, (closed_seconds, _) in list(self._closed.items()):
            if now.seconds - closed_seconds > self.timing.reopen_seconds:
                del self._closed[identity]
        return outcomes

    def restore(self, record: AlarmRecord, now: Now) -> bool:
        """Takes over an alarm that was raised before a restart; reports and the state decide what becomes of it.

        False if there is one of that code and key already.
        """
        identity = (record.code, record.key)
        if identity in self._open:
            return False
        alarm = restore_alarm(record, now, self.timing.quiet_seconds, self.timing.window_seconds)
        alarm.hold_seconds = self._hold_seconds(alarm)
        if record.cleared_at is None:
            self._open[identity] = alarm
        else:
            age_seconds = max(0.0, (now.at - record.cleared_at).total_seconds())
            self._closed[identity] = (now.seconds - age_seconds, alarm)
        return True

    def adopt(self, record: AlarmRecord, now: Now) -> bool:
        """Takes over an alarm that stands in the table and is unknown here, as after a backup was restored.

        It is cleared at once if this process has found it cleared: nobody would report that again. False as `restore`.
        """
        if not self.restore(record, now):
            return False
        identity = (record.code, record.key)
        if identity in self._cleared:
            alarm = self._open[identity]
            alarm.active_subjects, alarm.clear_due_seconds = {}, now.seconds
        return True

    def adopt_id(self, mine: AlarmRecord, standing: AlarmRecord) -> AlarmRecord:
        """Gives an alarm the id under which it stands in the table already; returns what it is now."""
        alarm = self._open.get((mine.code, mine.key))
        if alarm is None or not alarm.standing:
            return mine
        alarm.id, alarm.raised_at, alarm.acked_at = standing.id, standing.raised_at, standing.acked_at
        return alarm.record(self.instance)

    def standing(self) -> tuple[AlarmRecord, ...]:
        return tuple(alarm.record(self.instance) for alarm in self._open.values() if alarm.standing)

    def pending_invoices(self) -> list[str]:
        """The invoices with an active condition that somebody has to report cleared."""
        ids = {
            subject
            for alarm in self._open.values()
            for subject, active in alarm.active_subjects.items()
            if subject is not None and active.of_invoice and active.ends_seconds is None
        }
        return sorted(ids)

    def _alarm(self, code: str, key: str, report: ConditionActive | None, now: Now) -> Alarm:
        identity = (code, key)
        if identity not in self._open:
            closed_seconds, alarm = self._closed.pop(identity, (float("-inf"), None))
            if alarm is None or now.seconds - closed_seconds > self.timing.reopen_seconds:
                alarm = Alarm(code, key, report.severity if report else None, now)
            self._open[identity] = alarm
        return self._open[identity]

    def _evaluate(self, alarm: Alarm, now: Now) -> list[Outcome]:
        if alarm.standing:
            return self._continue(alarm, now) if alarm.active else self._clear(alarm, now)
        if not alarm.active:
            return self._drop(alarm, now)
        due = alarm.raise_seconds
        delay = self.timing.raise_within_seconds * RAISE_AFTER
        if due is None or self._muted(alarm):
            return []
        due = max(due + delay, self._unmuted.get(alarm.code, float("-inf")) + delay)
        return [self._raise(alarm, now)] if now.seconds >= due else []

    def _muted(self, alarm: Alarm) -> bool:
        muters = CATALOGUE.muted_by.get(alarm.code)
        return any(code in muters for code, _ in self._open) if muters else False

    def _raise(self, alarm: Alarm, now: Now) -> Action:
        if alarm.cleared_at is not None:
            alarm.reopened += 1
            alarm.returns += 1
            alarm.hold_seconds = self._hold_seconds(alarm)
            alarm.cleared_at = alarm.acked_at = None
        if alarm.group and alarm.group.standing_id:
            alarm.id, alarm.raised_at = alarm.group.standing_id, alarm.group.standing_since
        alarm.id = alarm.id or uuid.uuid4().hex[:12]
        alarm.raised_at = alarm.raised_at or now.at
        return self._action(alarm, Change.RAISED, now)

    def _continue(self, alarm: Alarm, now: Now) -> list[Outcome]:
        alarm.returns += alarm.held_at is not None
        alarm.clear_due_seconds = alarm.held_at = None
        age_seconds = now.seconds - alarm.line_seconds
        tenfold = age_seconds >= LINE_EVERY_SECONDS and alarm.count >= 10 * alarm.line_count
        reported_again = alarm.reported_since_restart and age_seconds >= LINE_RESTART_SECONDS
        if tenfold or reported_again or (age_seconds >= LINE_AGAIN_SECONDS and alarm.count != alarm.line_count):
            return [self._action(alarm, Change.UPDATED, now)]
        return []

    def _clear(self, alarm: Alarm, now: Now) -> list[Outcome]:
        """Clears at once the first time; what has come back before stays a while longer each time."""
        if alarm.clear_due_seconds is None:
            alarm.clear_due_seconds = now.seconds + alarm.hold_seconds
            alarm.held_at = now.at
        if now.seconds < alarm.clear_due_seconds:
            return []
        alarm.clear_due_seconds = alarm.held_at = None
        alarm.cleared_at = now.at
        action = self._action(alarm, Change.CLEARED, now)
        self._close(alarm, now, reopens=bool(alarm.reports))
        return [action]

    def _hold_seconds(self, alarm: Alarm) -> float:
        """How long it stands on after its condition has cleared."""
        return min(_HOLD_SECONDS * 3**alarm.reopened, self.timing.reopen_seconds) if alarm.reopened else 0.0

    def _drop(self, alarm: Alarm, now: Now) -> list[Outcome]:
        self.transients[alarm.code] += 1
        self._close(alarm, now, reopens=alarm.cleared_at is not None)
        lasted_seconds = max(0.0, (now.at - alarm.first_at).total_seconds())
        return [Transient(alarm.code, alarm.summary, lasted_seconds)]

    def _close(self, alarm: Alarm, now: Now, *, reopens: bool) -> None:
        """`reopens` is false of what only the state of the invoices had raised: a person or a reading ended it."""
        identity = (alarm.code, alarm.key)
        del self._open[identity]
        self._cleared.add(identity)
        for code in alarm.entry.mutes if alarm.entry else ():
            self._unmuted[code] = now.seconds
        if reopens and alarm.code not in _NEVER_REOPENED:
            self._closed[identity] = (now.seconds, alarm)
            while len(self._closed) > CLOSED_AT_MOST:
                del self._closed[next(iter(self._closed))]

    def _action(self, alarm: Alarm, change: Change, now: Now) -> Action:
        alarm.line_seconds, alarm.line_count = now.seconds, alarm.count
        alarm.reported_since_restart = alarm.restored = False
        return Action(change, alarm.record(self.instance))
