"""How an alarm is written down: as JSON for the spool and other programs, and as a log line for people."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from alarming.catalogue import CATALOGUE
from alarming.register import Change
from billing.instants import format_instant
from persistence.alarms import AlarmRecord, Severity

LOG_LEVELS = {Severity.CRITICAL: 50, Severity.MAJOR: 40, Severity.MINOR: 30, Severity.WARNING: 30}
"""The level of a raised alarm's record (`logging`); of a cleared one it is INFO."""
SEVERITIES: Final = tuple(Severity)
SERIOUS: Final = SEVERITIES[:2]
"""Those with which all is not well."""
_INSTANTS = ("raised_at", "last_at", "cleared_at", "acked_at")
_LARGEST_COUNT = 2**63 - 1  # of the table's column


def to_json(record: AlarmRecord) -> dict[str, Any]:
    """An alarm as JSON (docs/spec/interfaces.md, "JSON")."""
    instants = {name: getattr(record, name) for name in _INSTANTS}
    return {
        "id": record.id, "code": record.code, "key": record.key, "severity": record.severity.value,
        "summary": record.summary, "count": record.count,
        **{name: at and format_instant(at) for name, at in instants.items()}, "context": dict(record.context),
    }  # fmt: skip


def to_spool(record: AlarmRecord) -> dict[str, Any]:
    """As JSON, with what this instance alone needs after a restart."""
    more = {"instance": record.instance, "reopened": record.reopened, "ailing": list(record.active_subjects)}
    return to_json(record) | more


def from_spool(entry: Mapping[str, Any]) -> AlarmRecord:
    """The opposite of `to_spool`. Raises KeyError, ValueError, TypeError or OverflowError for anything else."""
    instants: dict[str, Any] = {
        name: None if entry[name] is None else datetime.fromisoformat(str(entry[name])) for name in _INSTANTS
    }
    if instants["raised_at"] is None or instants["last_at"] is None:
        raise ValueError("an alarm without the instant when it was raised")
    if any(at is not None and at.utcoffset() is None for at in instants.values()):
        raise ValueError("an instant without a zone")
    instants = {name: at and at.astimezone(UTC) for name, at in instants.items()}
    context = dict(entry["context"])
    for name in {"signs", "reopened"} & context.keys():
        _count(context[name])
    return AlarmRecord(
        id=str(entry["id"]), code=str(entry["code"]), key=str(entry["key"]), severity=Severity(entry["severity"]),
        summary=str(entry["summary"]), count=_count(entry["count"]), instance=str(entry["instance"]),
        context=context, reopened=_count(entry["reopened"]),
        active_subjects=tuple(map(str, entry["ailing"])), **instants,
    )  # fmt: skip


def _count(number: object) -> int:
    if type(number) is not int or not 0 <= number <= _LARGEST_COUNT:
        raise ValueError(f"no count: {number!r}")
    return number


def line(change: Change, record: AlarmRecord) -> str:
    where = "" if record.key == record.instance else f" for {record.key}"
    head = f"{record.code} {change.value}{' again' if change is Change.RAISED and record.reopened else ''}{where}: "
    if change is Change.CLEARED and record.cleared_at is not None:
        lasted = _duration((record.cleared_at - record.raised_at).total_seconds())
        return f"{head}over after {lasted} ({record.summary})"
    since = f"{record.raised_at.astimezone(UTC):%H:%M:%SZ}"
    if change is Change.UPDATED:
        return f"{head}{record.summary}; {record.count} by now, since {since}"
    entry = CATALOGUE.get(record.code)
    return f"{head}{record.summary}, since {since}" + (f"; {entry.english.meanwhile}" if entry else "")


def fields(change: Change, record: AlarmRecord) -> dict[str, str]:
    """The fields of the line, for journal and JSON lines (docs/spec/interfaces.md, "Log fields of an alarm")."""
    known = {
        "BILLINGD_ALARM_CODE": record.code,
        "BILLINGD_ALARM_KEY": record.key,
        "BILLINGD_ALARM_SEVERITY": record.severity.value,
        "BILLINGD_ALARM_STATE": change.value,
        "BILLINGD_ALARM_ID": record.id,
        "BILLINGD_ALARM_COUNT": str(record.count),
    }
    if entry := CATALOGUE.get(record.code):
        known["MESSAGE_ID"] = entry.message_id.hex
    for name, value in record.context.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        known.setdefault(f"BILLINGD_{name.upper()}", text)
    return known


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
