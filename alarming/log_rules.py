"""The log handler that turns records into conditions: by rules of the configuration, and any unforeseen error."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from alarming.catalogue import Code
from alarming.conditions import THIS_INSTANCE, Condition, ConditionActive, ConditionCleared
from persistence.alarms import EXAMPLES, Severity
from persistence.storable_text import clean_line

FORESEEN: Final = {"billingd_foreseen": True}
"""`extra` for an ERROR record whose condition its author reports."""

DISTINCT_AT_MOST: Final = 256
"""How many places and keys are told apart; the rest share one, so that memory stays bounded."""

_OTHERS = "others"
_OWN_LOGGERS = "billingd.alarms"
_OWN_THREADS = ("alarms#", "alarm-")  # those of the alarm actor, and those beside it
_SUMMARY_CHARACTERS = 300
OUR_ROOMS = frozenset((
    "billing", "network", "persistence", "altibiz", "supervision", "actors", "alarming", "config", "daemon", "cli",
    "web", "testkit", "drills", "files", "intake",
))  # fmt: skip


@dataclass(frozen=True)
class LogRule:
    """One rule of `alarms.rules`. `key` may hold {name} of a named group; empty, it is the instance.

    `clear_after_seconds` None: `alarms.quiet_seconds`. A record of any level may match `clear_pattern`.
    """

    pattern: re.Pattern[str]
    code: str
    logger: str = ""
    level: int = logging.ERROR
    key: str = ""
    severity: Severity = Severity.MAJOR
    clear_after_seconds: float | None = None
    clear_pattern: re.Pattern[str] | None = None

    @classmethod
    def of(cls, settings: Any) -> Self:
        """From a rule as the configuration has it (an object with these attributes as text)."""
        return cls(
            pattern=re.compile(settings.pattern),
            code=settings.code,
            logger=settings.logger,
            level=logging.getLevelNamesMapping()[settings.level.upper()],
            key=settings.key,
            severity=Severity(settings.severity),
            clear_after_seconds=settings.clear_after_seconds,
            clear_pattern=re.compile(settings.clear_pattern) if settings.clear_pattern else None,
        )

    def concerns(self, logger: str) -> bool:
        return not self.logger or logger == self.logger or logger.startswith(self.logger + ".")

    def key_of(self, match: re.Match[str]) -> str:
        groups = {name: value or "" for name, value in match.groupdict().items()}
        return clean_line(re.sub(r"\{(\w+)\}", lambda name: groups.get(name[1], ""), self.key), 200) or THIS_INSTANCE


@dataclass
class _Accumulated:
    """Records of one code, key and subject since the last time they were taken."""

    first: ConditionActive
    count: int = 0
    cleared: bool = False
    context: dict[str, Any] = field(default_factory=dict)


class LogConditions(logging.Handler):
    """Counts records together until the alarm actor takes them: no logger waits, and many cost no more than one.

    Records of the alarms themselves are passed over: those of their loggers and those of their threads, which includes
    what libraries log there.
    """

    def __init__(self, rules: Sequence[LogRule] = ()) -> None:
        super().__init__(logging.NOTSET)
        self.rules = tuple(rules)
        self._accumulated: dict[tuple[str, str, str | None], _Accumulated] = {}
        self._cleared: list[Condition] = []
        self._keys: dict[str, set[str]] = {}
        self._places: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(_OWN_LOGGERS) or (record.threadName or "").startswith(_OWN_THREADS):
            return
        try:
            self._take(record)
        except Exception:  # noqa: BLE001 - a record with a broken argument must not break who logs it
            self.handleError(record)

    def take(self) -> list[Condition]:
        self.acquire()
        try:
            accumulated, self._accumulated = self._accumulated, {}
            conditions, self._cleared = self._cleared, []
            places = dict(self._places.most_common(EXAMPLES))
        finally:
            self.release()
        for (code, key, subject), each in accumulated.items():
            context = {"where": places} if code == Code.UNEXPECTED_ERROR else each.context
            conditions.append(replace(each.first, key=key, subject=subject, context=context, count=each.count))
            if each.cleared:
                conditions.append(ConditionCleared(code, key))
        return conditions

    def _take(self, record: logging.LogRecord) -> None:
        message: str | None = None
        for rule in self.rules:
            if not rule.concerns(record.name):
                continue
            message = message if message is not None else _message(record)
            if record.levelno >= rule.level and (match := rule.pattern.search(message)):
                key = self._key(rule.code, rule.key_of(match))
                self._accumulate(record, rule.code, key, None, message, rule).context.update(match.groupdict())
                return
            if rule.clear_pattern is not None and (match := rule.clear_pattern.search(message)):
                self._clear(rule.code, self._key(rule.code, rule.key_of(match)))
                return
        if record.levelno >= logging.ERROR and not getattr(record, "billingd_foreseen", False):
            self._unexpected(record)

    def _unexpected(self, record: logging.LogRecord) -> None:
        where = place(record)
        if where not in self._places and len(self._places) >= DISTINCT_AT_MOST:
            where = _OTHERS
        self._places[where] += 1
        summary = f"at {where}: {_message(record)}"
        self._accumulate(record, Code.UNEXPECTED_ERROR.value, THIS_INSTANCE, where, summary, None)

    def _accumulate(
        self, record: logging.LogRecord, code: str, key: str, subject: str | None, summary: str, rule: LogRule | None
    ) -> _Accumulated:
        each = self._accumulated.get((code, key, subject))
        if each is None:
            line = clean_line(summary, _SUMMARY_CHARACTERS)
            seen_at = datetime.fromtimestamp(record.created, UTC)
            after, severity = (rule.clear_after_seconds, rule.severity) if rule else (None, None)
            first = ConditionActive(code, line, seen_at=seen_at, clear_after_seconds=after, severity=severity)
            each = self._accumulated[code, key, subject] = _Accumulated(first)
        each.count += 1
        each.cleared = False
        return each

    def _clear(self, code: str, key: str) -> None:
        each = self._accumulated.get((code, key, None))
        if each is not None:
            each.cleared = True
        elif ConditionCleared(code, key) not in self._cleared:
            self._cleared.append(ConditionCleared(code, key))

    def _key(self, code: str, key: str) -> str:
        keys = self._keys.setdefault(code, set())
        if key not in keys and len(keys) >= DISTINCT_AT_MOST:
            return _OTHERS
        keys.add(key)
        return key


def place(record: logging.LogRecord) -> str:
    """Where a record comes from: an exception's innermost frame of our own, or the line that logged it."""
    if record.exc_info and record.exc_info[0] is not None:
        frame = _own_frame(record.exc_info[2])
        if frame is not None:
            return f"{frame}:{record.exc_info[0].__name__}"
    return f"{record.name}:{record.module}:{record.lineno}"


def _own_frame(traceback: TracebackType | None) -> str | None:
    own = last = None
    while traceback is not None:
        module = str(traceback.tb_frame.f_globals.get("__name__", "?"))
        last = f"{module}:{traceback.tb_frame.f_code.co_name}:{traceback.tb_lineno}"
        if module.split(".")[0] in OUR_ROOMS:
            own = last
        traceback = traceback.tb_next
    return own or last


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return str(record.msg)
