"""What an actor reports to the alarms: each failure, and the first success after it."""

from collections.abc import Callable, Iterable
from typing import Any

from actors.messages import ALARMS, try_tell
from alarming.catalogue import CATALOGUE, ClearScope, Code
from alarming.conditions import ConditionActive, ConditionCleared
from billing.quarantine import backoff_seconds
from persistence.connection.errors import PersistenceError


class ConditionReporter:
    """Reports every failure, and a success once: the first of all, and the first after a failure.

    `codes` are those that `clear_all` clears at the first success: an alarm of the process before may stand.
    """

    def __init__(self, tell: Callable[[str, Any], None], codes: Iterable[Code]) -> None:
        self._tell = tell
        self._subjects: dict[Code, set[str | None]] = {code: set() for code in codes}
        self._never_cleared = set(self._subjects)

    def raise_condition(self, code: Code, summary: str, subject: str | None = None, **more: Any) -> None:
        """Something failed; `more` are the other fields of alarming.conditions.ConditionActive."""
        self._reporters(code).add(subject)
        self._never_cleared.discard(code)
        # A failed report must not fail the caller: the alarm actor hears of the next try, or of the next success.
        try_tell(self._tell, ALARMS, ConditionActive(code, summary, subject=subject, **more))

    def clear(self, code: Code, subject: str | None = None) -> None:
        """It worked for this subject; with None for everybody."""
        reporters = self._reporters(code)
        if code in self._never_cleared or (subject is None and reporters):
            if try_tell(self._tell, ALARMS, ConditionCleared(code)):
                self._never_cleared.discard(code)
                reporters.clear()
        elif subject in reporters and try_tell(self._tell, ALARMS, ConditionCleared(code, subject=subject)):
            if CATALOGUE[code].clear_scope is ClearScope.ALL:
                reporters.clear()
            reporters.discard(subject)

    def clear_common(self, code: Code) -> None:
        """Clears it for everybody; but what only one subject has reported is cleared by that subject's own success."""
        reporters = self._reporters(code)
        if len(reporters) != 1 or None in reporters:
            self.clear(code)

    def clear_unnamed(self, subject: str) -> None:
        """Clears what was reported for no subject. Any subject's success ends that, here the one of `subject`."""
        for code, reporters in self._subjects.items():
            if None in reporters and try_tell(self._tell, ALARMS, ConditionCleared(code, subject=subject)):
                reporters.discard(None)

    def reported(self, code: Code) -> bool:
        """Whether it has failed and not worked since."""
        return bool(self._subjects.get(code))

    def clear_all(self, subject: str | None = None) -> None:
        for code in self._subjects:
            if self._subjects[code] or code in self._never_cleared:
                self.clear(code, subject)

    def _reporters(self, code: Code) -> set[str | None]:
        if code not in self._subjects:
            self._never_cleared.add(code)
        return self._subjects.setdefault(code, set())


BACKOFF_BASE_SECONDS, BACKOFF_MOST_SECONDS = 0.1, 1.0
DATABASE_CODES = (Code.DATABASE_UNREACHABLE, Code.DATABASE_ERROR)


def report_database_error(conditions: ConditionReporter, error: PersistenceError, subject: str) -> None:
    """Tells which trouble with the database an error means; one that the database itself tells is no other's sign."""
    if not error.away:
        conditions.clear(Code.DATABASE_UNREACHABLE, subject)
    conditions.raise_condition(Code.DATABASE_UNREACHABLE if error.away else Code.DATABASE_ERROR, str(error), subject)


class DatabaseBackoff:
    """How long an actor waits between its tries while the database is away: short, so that work resumes soon."""

    _failures = 0

    def next_seconds(self) -> float:
        self._failures += 1
        return backoff_seconds(self._failures - 1, BACKOFF_BASE_SECONDS, BACKOFF_MOST_SECONDS)

    def reset(self) -> None:
        self._failures = 0
