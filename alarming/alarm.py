"""One alarm: the subjects for which the condition of its code and key is active, and how it is shown to others."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final, NamedTuple

from alarming.catalogue import CATALOGUE, ClearRule, ClearScope, Code, Entry
from alarming.conditions import ConditionActive
from billing.identity import is_invoice_id
from billing.states import State
from persistence.alarms import EXAMPLES, AlarmRecord, Group, Severity
from persistence.storable_text import clean_context, clean_line

SUBJECTS_AT_MOST: Final = 10_000
"""How many subjects are told apart; those beyond it share one place, so that memory stays bounded."""

FLAPPING: Final = "; flapping: "
"""What of a summary says how often its alarm came."""

_MAILBOX_SECONDS = 10.0  # no report waits longer to be read: more is a jump of the wall clock


class Now(NamedTuple):
    """Now, twice: seconds of a clock that never jumps, for durations, and the wall clock's instant, for people."""

    seconds: float
    at: datetime


@dataclass
class ActiveSubject:
    """Since when the condition is active for one subject; `ends_seconds` if it ends by being quiet."""

    first_seconds: float
    ends_seconds: float | None
    of_invoice: bool


class Alarm:
    """An alarm that is pending, standing, or held a little before it is cleared; the register moves it."""

    def __init__(self, code: str, key: str, severity: Severity | None, now: Now) -> None:
        self.code, self.key = code, key
        self.entry: Entry | None = CATALOGUE.get(code)
        self.severity = self.entry.severity if self.entry else severity or Severity.MAJOR
        self.summary = ""
        self.context: dict[str, Any] = {}
        self.id: str | None = None
        self.first_at = self.last_at = now.at
        self.raised_at: datetime | None = None
        self.cleared_at: datetime | None = None
        self.acked_at: datetime | None = None
        self.reopened = 0
        self.returns = 0  # of the condition, soon after it had cleared; `reopened` were raised again
        self.hold_seconds = 0.0
        self.held_at: datetime | None = None
        self.reports = 0
        self.active_subjects: dict[str | None, ActiveSubject] = {}
        self.immediately = False
        self.invoices: dict[str, None] = {}
        self.group: Group | None = None
        self.restored = False
        self.awaits_state = False  # it stood by the database's state before a restart
        self.clear_due_seconds: float | None = None
        self.reported_since_restart = False
        self.line_seconds = 0.0
        self.line_count = 0

    @property
    def standing(self) -> bool:
        return self.raised_at is not None and self.cleared_at is None

    @property
    def active(self) -> bool:
        """Whether its condition is active, by a report or by the state of the invoices."""
        return bool(self.active_subjects) or self.group is not None or self.awaits_state

    @property
    def clear_rule(self) -> ClearRule:
        return self.entry.clear_rule if self.entry else ClearRule.QUIET

    @property
    def count(self) -> int:
        """Invoices concerned if it is about invoices, otherwise reports."""
        if self.group is not None:
            return max(self.group.count, len(self.invoices))
        return len(self.invoices) or max(self.reports, 1)

    @property
    def raise_seconds(self) -> float | None:
        """The first report of those that are active; minus infinity if it doesn't wait."""
        if self.group is not None or (self.immediately and self.active_subjects):
            return float("-inf")
        return next((each.first_seconds for each in self.active_subjects.values()), None)

    def activate(self, report: ConditionActive, now: Now, ends_after_seconds: float | None) -> None:
        seen_at = min(report.seen_at or now.at, now.at)
        first_seconds = now.seconds - min((now.at - seen_at).total_seconds(), _MAILBOX_SECONDS)
        subject = report.subject
        if subject not in self.active_subjects and len(self.active_subjects) >= SUBJECTS_AT_MOST:
            subject = None
        ends_seconds = None if ends_after_seconds is None else now.seconds + ends_after_seconds
        of_invoice = subject is not None and is_invoice_id(subject)
        active = self.active_subjects.setdefault(subject, ActiveSubject(first_seconds, ends_seconds, of_invoice))
        active.ends_seconds = ends_seconds
        if subject is not None and of_invoice and len(self.invoices) < SUBJECTS_AT_MOST:
            self.invoices[subject] = None
        self.immediately |= report.immediately or bool(self.entry and self.entry.immediately)
        if not self.reports:
            self.first_at = seen_at
        self.reports += report.count
        self.reported_since_restart |= self.restored
        self.last_at = now.at
        self.summary = clean_line(report.summary)
        self.context.update(clean_context(report.context))

    def clear(self, subject: str | None) -> None:
        """Takes in that the condition is cleared for a subject, or for all (None)."""
        for_all = self.entry is not None and self.entry.clear_scope is ClearScope.ALL
        if subject is None or (for_all and subject in self.active_subjects):
            self.active_subjects.clear()
        else:
            self.active_subjects.pop(subject, None)
            self.active_subjects.pop(None, None)  # what was reported for no subject is cleared by any success

    def expire(self, now: Now) -> None:
        for subject, active in list(self.active_subjects.items()):
            if active.ends_seconds is not None and active.ends_seconds <= now.seconds:
                del self.active_subjects[subject]

    def follow(self, group: Group, now: Now) -> None:
        before = self.group
        if before is None or _content(before) != _content(group):
            self.last_at = now.at
        self.group, self.awaits_state, self.summary = group, False, _summary(group, self.entry)

    def record(self, instance: str) -> AlarmRecord:
        """What others see of it now; only of an alarm that has been raised."""
        assert self.id is not None
        assert self.raised_at is not None
        subjects = tuple(islice(filter(None, self.active_subjects), EXAMPLES))
        return AlarmRecord(
            self.id, self.code, self.key, self.severity, self.summary + self._flapping(), self.count, self.raised_at,
            self.last_at, instance, self.cleared_at, self.acked_at, self._context(), self.reopened, subjects,
        )  # fmt: skip

    def _flapping(self) -> str:
        """What is to be known of one that comes again and again; nothing of others."""
        if not self.returns or self.raised_at is None:
            return ""
        came = f"{FLAPPING}{self.returns + 1} times since {self.raised_at:%H:%M:%SZ}"
        if self.cleared_at is not None:
            return came
        if self.held_at is None:
            return f"{came}, cleared once it stays away for {self.hold_seconds:.0f} s"
        due_at = self.held_at + timedelta(seconds=self.hold_seconds)
        return f"{came}, away since {self.held_at:%H:%M:%SZ}, cleared at {due_at:%H:%M:%SZ} unless it comes back"

    def _context(self) -> dict[str, Any]:
        context = dict(self.context)
        if self.group is not None and self.code != Code.DELIVERY_PAUSED:
            group = self.group
            context |= {"invoices": list(group.ids), "reason": group.reason, "reasons": group.reasons}
            if group.oldest != group.newest:
                context |= {"oldest": group.oldest, "newest": group.newest}
        elif self.invoices:
            context["invoices"] = list(islice(self.invoices, EXAMPLES))
        others = (subject for subject, active in self.active_subjects.items() if subject and not active.of_invoice)
        if named := list(islice(others, EXAMPLES)):
            context["subjects"] = named
        if self.reports:
            context["signs"] = self.reports
        if self.reopened:
            context["reopened"] = self.reopened
        return context


def _content(group: Group) -> tuple[object, ...]:
    return group.count, group.ids, group.reason, group.reasons


def _summary(group: Group, entry: Entry | None) -> str:
    if group.code == Code.DELIVERY_PAUSED:
        return f"delivery is paused {group.reason}"
    noun = "invoice" if group.count == 1 else "invoices"
    more = f", …{group.count - 3} more" if group.count > 3 else ""
    why = group.reason + (f" (and {group.reasons - 1} other reasons)" if group.reasons > 1 else "")
    done = entry.invoices if entry else State.HELD
    periods = f" ({group.oldest} to {group.newest})" if group.oldest != group.newest else ""
    return f"{group.count} {noun} {done}{periods}: {', '.join(group.ids[:3])}{more}: {why}"


def restore_alarm(record: AlarmRecord, now: Now, quiet_seconds: float, window_seconds: float) -> Alarm:
    """The alarm of a record that stood when the process before this one ended."""
    alarm = Alarm(record.code, record.key, record.severity, now)
    alarm.id, alarm.severity = record.id, record.severity
    alarm.summary, alarm.returns = record.summary.partition(FLAPPING)[0], record.reopened
    alarm.context = dict(record.context)
    alarm.reports = int(alarm.context.pop("signs", 0))
    alarm.first_at = alarm.raised_at = record.raised_at
    alarm.last_at, alarm.acked_at, alarm.reopened = record.last_at, record.acked_at, record.reopened
    alarm.cleared_at = record.cleared_at
    alarm.restored = True
    age_seconds = max(timedelta(), now.at - record.last_at).total_seconds()
    alarm.line_seconds, alarm.line_count = now.seconds - age_seconds, record.count
    if record.cleared_at is not None:
        return alarm
    alarm.invoices = dict.fromkeys(filter(is_invoice_id, record.active_subjects))
    alarm.context.pop("subjects", None)
    alarm.context.pop("invoices", None)
    alarm.awaits_state = alarm.entry is not None and alarm.entry.by_period and record.key != record.instance
    subjects: Iterable[str | None] = ()
    ends_seconds = None
    if alarm.clear_rule is ClearRule.REPORTED:
        # An invoice is heard of again, or found to be final; another subject may not exist any more.
        known = {subject if is_invoice_id(subject) else None for subject in record.active_subjects}
        subjects = known or (() if alarm.awaits_state else (None,))
    elif alarm.clear_rule is ClearRule.STABLE:
        subjects, ends_seconds = record.active_subjects or (None,), now.seconds + window_seconds
    elif alarm.clear_rule is ClearRule.QUIET:
        subjects, ends_seconds = (None,), now.seconds + quiet_seconds - age_seconds
    for subject in subjects:
        alarm.active_subjects[subject] = ActiveSubject(now.seconds, ends_seconds, subject in alarm.invoices)
    return alarm
