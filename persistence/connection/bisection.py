"""Finds the rows that make work on many of them fail: the work is repeated on smaller parts, down to single ones."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from persistence.connection.errors import DatabaseFailed, PersistenceError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Failed:
    """Why the work on a single item failed."""

    error: Exception


def is_row_fault(error: Exception) -> bool:
    """Whether an error may come from one row of many; False if the database is away or refuses everything.

    What is no PersistenceError comes from the program: it may be one invoice's content that it can't work on.
    """
    if isinstance(error, PersistenceError):
        return isinstance(error, DatabaseFailed) and error.concerns_row
    return True


def bisect(
    items: Sequence[T], work: Callable[[Sequence[T]], R], has_time: Callable[[], bool] = lambda: True
) -> Iterator[tuple[Sequence[T], R | Failed]]:
    """Runs `work` on all items, after a row fault on halves; yields each part that succeeded and each single failure.

    `work` undoes what it has begun when it raises, as a transaction or a savepoint does. Any other error than a row
    fault is raised: what was yielded before has been done. With no time left the iterator ends early.
    """
    waiting = [items] if items else []
    while waiting and has_time():
        part = waiting.pop()
        try:
            result = work(part)
        except Exception as error:  # whatever a row makes the work raise
            if not is_row_fault(error):
                raise
            if len(part) == 1:
                yield part, Failed(error)
            else:
                half = len(part) // 2
                waiting += (part[half:], part[:half])
        else:
            yield part, result


def isolate(
    work: Callable[[Sequence[str] | None], R],
    candidates: Callable[[], Sequence[str]],
    has_time: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[Sequence[str], R | Failed]]:
    """Runs `work(None)`, one statement that finds its rows itself; after a row fault it bisects the candidates' ids.

    Yields and raises as `bisect` does. The part that belongs to the one statement is empty.
    """
    try:
        result = work(None)
    except Exception as error:  # whatever a row makes the work raise
        if not is_row_fault(error):
            raise
    else:
        yield (), result
        return
    yield from bisect(candidates(), work, has_time)
