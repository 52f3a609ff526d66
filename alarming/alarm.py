"""One alarm: who is in trouble under its code and key, since when, and how it is shown to others."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final, NamedTuple

from alarming.catalogue import CATALOGUE, ClearRule, ClearScope, Entry
from alarming.conditions import ConditionActive, Severity

EXAMPLES: Final = 20
"""How many subjects an alarm names (interfaces.md, Alarm codes)."""

SUBJECTS_AT_MOST: Final = 10_000
"""How many subjects are told apart; those beyond it share one place, so that memory stays bounded."""

_MAILBOX_SECONDS = 10.0  # no sign waits longer to be read: more is a jump of the wall clock

_LINE_CHARACTERS = 500
_CONTEXT_CHARACTERS = 20_000

_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # as JSON writes it, unless the backslash is itself escaped

_INVOICE_ID = re.compile(r"[A-Za-z0-9-]{1,64}\.\d{4}-\d{2}\.\d+")


class Now(NamedTuple):
    """Now, twice: seconds of a clock that never jumps, for durations, and the wall clock's instant, for people."""

    seconds: float
    at: datetime


@dataclass(frozen=True)
class AlarmRecord:
    """What others see of an alarm. `reopened`: how often it came back soon after it was cleared.

    `active_subjects`: some of those in trouble by a sign, to go on from after a restart.
    """

    id: str
    code: str
    key: str
    severity: Severity
    summary: str
    count: int
    raised_at: datetime
    last_at: datetime
    instance: str
    cleared_at: datetime | None = None
    acked_at: datetime | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    reopened: int = 0
    active_subjects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Invoices that stand in the database under one alarm; `standing_*` is what the table already has of it."""

    code: str
    key: str
    count: int
    summary: str
    context: Mapping[str, Any]
    standing_id: str | None = None
    standing_since: datetime | None = None


@dataclass
class ActiveSubject:
    """One subject's trouble, in seconds of the steady clock; `ends_seconds` if it ends by being quiet."""

    first_seconds: float
    ends_seconds: float | None
    of_invoice: bool


class Alarm:
    """A trouble that is pending, standing, or held a little before it is cleared; its register moves it."""

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
        self.signs = 0
        self.active_subjects: dict[str | None, ActiveSubject] = {}
        self.immediately = False
        self.touched: dict[str, None] = {}
        self.group: Group | None = None
        self.revived = False
        self.awaits_look = False  # it stood by the database's state before a restart
        self.clear_due_seconds: float | None = None
        self.untold = False  # a sign since the restart that it outlived
        self.line_seconds = 0.0
        self.line_count = 0

    @property
    def standing(self) -> bool:
        """Whether it has been raised and not been cleared since."""
        return self.raised_at is not None and self.cleared_at is None

    @property
    def troubled(self) -> bool:
        """Whether anybody is in trouble, by a sign or by the state of the invoices."""
        return bool(self.active_subjects) or self.group is not None or self.awaits_look

    @property
    def clear_scope(self) -> ClearScope:
        """For whom a `ConditionCleared` with a subject speaks."""
        return self.entry.clear_scope if self.entry else ClearScope.EACH

    @property
    def clear_rule(self) -> ClearRule:
        """What ends it besides a `ConditionCleared`."""
        return self.entry.clear_rule if self.entry else ClearRule.QUIET

    @property
    def count(self) -> int:
        """Invoices concerned if it is about invoices, otherwise signs."""
        if self.group is not None:
            return max(self.group.count, len(self.touched))
        return len(self.touched) or max(self.signs, 1)

    @property
    def raise_seconds(self) -> float | None:
        """The earliest first sign among those in trouble, or the instant itself if one doesn't wait."""
        if self.group is not None:
            return float("-inf")
        if self.immediately and self.active_subjects:
            return float("-inf")
        return next((state.first_seconds for state in self.active_subjects.values()), None)

    def note(self, sign: ConditionActive, now: Now, ends_after_seconds: float | None) -> None:
        """Takes in a sign of trouble."""
        seen_at = min(sign.seen_at or now.at, now.at)
        first_seconds = now.seconds - min((now.at - seen_at).total_seconds(), _MAILBOX_SECONDS)
        subject = sign.subject
        if subject not in self.active_subjects and len(self.active_subjects) >= SUBJECTS_AT_MOST:
            subject = None
        ends_seconds = None if ends_after_seconds is None else now.seconds + ends_after_seconds
        if subject not in self.active_subjects:
            self.active_subjects[subject] = ActiveSubject(
                first_seconds, ends_seconds, subject is not None and is_invoice(subject)
            )
        self.active_subjects[subject].ends_seconds = ends_seconds
        if subject is not None and self.active_subjects[subject].of_invoice and len(self.touched) < SUBJECTS_AT_MOST:
            self.touched[subject] = None
        self.immediately |= sign.immediately or bool(self.entry and self.entry.immediately)
        if not self.signs:
            self.first_at = seen_at
        self.signs += sign.count
        self.untold |= self.revived
        self.last_at = now.at
        self.summary = clean_line(sign.summary)
        self.context.update(clean_context(sign.context))

    def clear(self, subject: str | None) -> None:
        """Takes in that a subject, or everybody (None), is well."""
        if subject is None or (self.clear_scope is ClearScope.ALL and subject in self.active_subjects):
            self.active_subjects.clear()
        else:
            self.active_subjects.pop(subject, None)
            self.active_subjects.pop(None, None)  # who told trouble for no one in particular hears of any success

    def expire(self, now: Now) -> None:
        """Drops the troubles that have been quiet for long enough."""
        over = [
            subject
            for subject, state in self.active_subjects.items()
            if state.ends_seconds is not None and state.ends_seconds <= now.seconds
        ]
        for subject in over:
            del self.active_subjects[subject]

    def record(self, instance: str) -> AlarmRecord:
        """What others see of it now; only of an alarm that has been raised."""
        assert self.id is not None
        assert self.raised_at is not None
        return AlarmRecord(
            self.id,
            self.code,
            self.key,
            self.severity,
            self.summary,
            self.count,
            self.raised_at,
            self.last_at,
            instance,
            self.cleared_at,
            self.acked_at,
            self._context(),
            self.reopened,
            tuple(islice((subject for subject in self.active_subjects if subject is not None), EXAMPLES)),
        )

    def _context(self) -> dict[str, Any]:
        context = dict(self.context)
        if self.group is not None:
            context.update(self.group.context)
        elif self.touched:
            context["invoices"] = list(islice(self.touched, EXAMPLES))
        subjects = (subject for subject, state in self.active_subjects.items() if subject and not state.of_invoice)
        if named := list(islice(subjects, EXAMPLES)):
            context["subjects"] = named
        if self.signs:
            context["signs"] = self.signs
        if self.reopened:
            context["reopened"] = self.reopened
        return context


def is_invoice(subject: str) -> bool:
    """Whether a subject is an invoice's id (billing.md, Identity)."""
    return _INVOICE_ID.fullmatch(subject) is not None


def clean_line(text: str, characters: int = _LINE_CHARACTERS) -> str:
    """One line that any log, file and database can hold."""
    whole = text.encode("utf-8", "replace").decode().replace("\0", "")
    return " ".join(whole[: 4 * characters].split())[:characters]


def clean_context(context: Mapping[str, Any]) -> dict[str, Any]:
    """A context that is JSON of bounded size which any log, file and database can hold, whatever somebody put in."""
    try:
        text = json.dumps(dict(context), ensure_ascii=False, default=str)
    except (TypeError, ValueError):  # a key that is no text, or a circle
        text = json.dumps({"context": repr(context)}, ensure_ascii=False)
    if len(text) > _CONTEXT_CHARACTERS:
        text = json.dumps({"context": text[:_LINE_CHARACTERS]}, ensure_ascii=False)
    plain = _NUL.sub(r"\1", text).encode("utf-8", "replace")
    cleaned: dict[str, Any] = json.loads(plain, parse_constant=str)
    return cleaned


def revived(record: AlarmRecord, now: Now, quiet_seconds: float, stable_seconds: float) -> Alarm:
    """The alarm of a record that stood when the process before this one ended."""
    alarm = Alarm(record.code, record.key, record.severity, now)
    alarm.id, alarm.summary, alarm.severity = record.id, record.summary, record.severity
    alarm.context = dict(record.context)
    alarm.signs = int(alarm.context.pop("signs", 0))
    alarm.first_at = alarm.raised_at = record.raised_at
    alarm.last_at, alarm.acked_at, alarm.reopened = record.last_at, record.acked_at, record.reopened
    alarm.cleared_at = record.cleared_at
    alarm.revived = True
    age = max(timedelta(), now.at - record.last_at).total_seconds()
    alarm.line_seconds, alarm.line_count = now.seconds - age, record.count
    if record.cleared_at is not None:
        return alarm
    alarm.touched = dict.fromkeys(filter(is_invoice, record.active_subjects))
    alarm.context.pop("subjects", None)
    alarm.context.pop("invoices", None)
    alarm.awaits_look = alarm.entry is not None and alarm.entry.by_period and record.key != record.instance
    subjects: Iterable[str | None] = ()
    ends_seconds = None
    if alarm.clear_rule is ClearRule.REPORTED:
        # An invoice is heard of again, or found to be final; another subject may not exist any more.
        known = {subject if is_invoice(subject) else None for subject in record.active_subjects}
        subjects = known or (() if alarm.awaits_look else (None,))
    elif alarm.clear_rule is ClearRule.STABLE:
        subjects, ends_seconds = record.active_subjects or (None,), now.seconds + stable_seconds
    elif alarm.clear_rule is ClearRule.QUIET:
        subjects, ends_seconds = (None,), now.seconds + quiet_seconds - age
    for subject in subjects:
        alarm.active_subjects[subject] = ActiveSubject(now.seconds, ends_seconds, subject in alarm.touched)
    return alarm
