"""What goes into an alarm is made to fit any log, file and database, and thousands of subjects stay cheap."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from alarming.actor import AwakeClock
from alarming.alarm import SUBJECTS_AT_MOST, Now
from alarming.catalogue import Code
from alarming.conditions import ConditionActive, ConditionCleared
from alarming.register import AlarmRegister
from persistence.storable_text import clean_context, clean_line
from supervision import SystemClock

START = datetime(2026, 11, 15, tzinfo=UTC)
ANY_TEXT = st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
    max_leaves=10,
)


@given(ANY_TEXT)
def test_any_text_becomes_one_line_that_can_be_written(text: str) -> None:
    line = clean_line(text)
    assert line.encode("utf-8").count(b"\n") == 0
    assert "\0" not in line
    assert len(line) <= 500


@given(st.dictionaries(ANY_TEXT, VALUES))
def test_any_context_becomes_json_that_can_be_written(context: dict[str, Any]) -> None:
    cleaned = clean_context(context)
    text = json.dumps(cleaned, ensure_ascii=False, allow_nan=False)
    assert json.loads(text.encode("utf-8")) == cleaned
    assert clean_context(cleaned) == cleaned


def test_what_is_no_json_at_all_is_shown_as_it_prints() -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    assert "self" in clean_context(circle)["context"]
    assert "Ellipsis" in str(clean_context({"odd": ...}))
    assert len(json.dumps(clean_context({"long": "x" * 1_000_000}))) < 1000
    assert clean_context({"a": "\\u0000 \0"}) == {"a": "\\u0000 "}


def test_an_outage_of_ten_thousand_invoices_is_cheap_to_follow() -> None:
    register = AlarmRegister("one")
    started = time.process_time()
    for number in range(2 * SUBJECTS_AT_MOST):
        moment = Now(number / 10_000, START + timedelta(seconds=number / 10_000))
        register.activate(ConditionActive(Code.ERP_ERROR, "503", subject=f"NU-{number}.2026-10.1"), moment)
    for tick in range(40):
        register.tick(Now(10 + tick, START + timedelta(seconds=10 + tick)))
        (record,) = register.standing()
        assert len(register.pending_invoices()) <= SUBJECTS_AT_MOST
    assert time.process_time() - started < 5
    assert record.count == SUBJECTS_AT_MOST, "at least so many: memory is bounded"
    register.clear(ConditionCleared(Code.ERP_ERROR, subject="NU-5.2026-10.1"), Now(60, START + timedelta(seconds=60)))
    assert register.standing() == ()


class StoppedClock(SystemClock):
    """A clock that stands where it is put."""

    seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds


def test_nothing_becomes_due_while_the_process_stands_still() -> None:
    clock = StoppedClock()
    awake_clock, register = AwakeClock(clock), AlarmRegister("one")
    register.activate(ConditionActive(Code.ERP_ERROR, "503"), awake_clock())
    clock.seconds += 3600
    assert register.tick(awake_clock()) == [], "it was frozen for an hour"
    for _ in range(9):
        clock.seconds += 0.4
        assert register.tick(awake_clock()) == []
    clock.seconds += 0.5
    assert len(register.tick(awake_clock())) == 1
