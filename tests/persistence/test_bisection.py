"""Bisection: each bad item stands alone in the end, each good one is done once, and the good case costs nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.connection.bisection import Failed, bisect, is_row_fault, isolate
from persistence.connection.errors import CommitUnknown, DatabaseFailed, DatabaseUnreachable, RowHeldUp, RowRefused


@given(st.lists(st.booleans(), max_size=60))
def test_each_bad_item_stands_alone_and_each_good_one_is_done_once(bad: list[bool]) -> None:
    done: list[int] = []
    calls = 0

    def work(part: object) -> int:
        nonlocal calls
        calls += 1
        assert isinstance(part, list)
        if any(bad[item] for item in part):
            raise RowRefused("bad", "23514", None)
        done.extend(part)
        return len(part)

    failed = [part[0] for part, outcome in bisect(list(range(len(bad))), work) if isinstance(outcome, Failed)]
    assert failed == [item for item, is_bad in enumerate(bad) if is_bad]
    assert done == [item for item, is_bad in enumerate(bad) if not is_bad], "in their order"
    if not failed:
        assert calls == bool(bad), "the good case costs nothing"
    assert calls <= 1 + 14 * max(1, len(failed))


def test_what_is_no_rows_fault_is_raised_after_what_was_done() -> None:
    def work(part: object) -> None:
        if part == [3]:
            raise DatabaseUnreachable("away")
        raise RowRefused("bad", "23514", None)

    parts = bisect([1, 2, 3, 4], work)
    assert [next(parts)[0], next(parts)[0]] == [[1], [2]]
    with pytest.raises(DatabaseUnreachable):
        next(parts)


def test_with_no_time_left_it_ends_early() -> None:
    left = [True, True, True, False]

    def work(part: object) -> None:
        raise RowRefused("bad", "23514", None)

    assert [part for part, _ in bisect([1, 2, 3, 4], work, lambda: left.pop(0))] == [[1]]


def test_candidates_are_read_only_after_a_fault() -> None:
    def candidates() -> list[str]:
        raise AssertionError("nobody asks")

    assert list(isolate(lambda only: only, candidates)) == [((), None)]


@pytest.mark.parametrize(
    ("error", "of_row"),
    [
        (RowRefused("", "23505", None), True),
        (DatabaseFailed("", "XX001"), True),
        (DatabaseFailed("", "P0001"), True),
        (DatabaseFailed("", "55P03"), False),
        (RowHeldUp("", "55P03"), True),
        (DatabaseFailed("", "57014"), False),
        (DatabaseFailed("", "42501"), False),
        (DatabaseFailed("", "53100"), False),
        (DatabaseFailed("", "40P01"), False),
        (DatabaseUnreachable(""), False),
        (CommitUnknown(""), False),
        (ZeroDivisionError(), True),
    ],
)
def test_which_errors_may_be_one_rows(error: Exception, *, of_row: bool) -> None:
    assert is_row_fault(error) is of_row
