"""The messages that report conditions to the alarm actor: one is active, or cleared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from persistence.alarms import Severity

THIS_INSTANCE: Final = ""
"""The key that stands for the daemon's own instance name."""


@dataclass(frozen=True)
class ConditionActive:
    """Something is wrong. Report it at every failed try: the count of an alarm is the count of these.

    `code`: a `Code`, or the name that a rule of the configuration gives.
    `summary`: one line for people, without the code: "no connection to 127.0.0.1:5432/billingd (refused)".
    `key`: the instance (the default) or, for what concerns invoices, the period.
    `subject`: an invoice's id or an actor's name; None where there is only one.
    `context`: fields for people and log (names of log fields, values that JSON can hold).
    `immediately`: raise it without waiting whether it passes.
    `clear_after_seconds`: nobody will report it cleared; it is over when that long no other report came.
    `severity`: only where the catalogue has none (codes of the configuration's rules).
    `count`: how many reports this one stands for.
    `seen_at`: when it was seen, if that was earlier than it is reported.
    """

    code: str
    summary: str
    key: str = THIS_INSTANCE
    subject: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    immediately: bool = False
    clear_after_seconds: float | None = None
    severity: Severity | None = None
    count: int = 1
    seen_at: datetime | None = None


@dataclass(frozen=True)
class ConditionCleared:
    """It works (again). Report it at the first success after a start and at the first after a `ConditionActive`.

    With a `subject` it speaks for that one (the catalogue says for which codes it speaks for all subjects); without
    one for all.
    """

    code: str
    key: str = THIS_INSTANCE
    subject: str | None = None


Condition = ConditionActive | ConditionCleared
