"""What a drill concludes from a daemon's log: from the fields of its lines, never from what a message quotes."""

import json
from pathlib import Path

import pytest

from drills.judge import judge_alarms
from testkit.daemon_log import AlarmLine, AlarmLog, log_entries, supervision_events

CRASHED = {"supervision_event": "Exited", "supervision_name": "biller", "supervision_reason": "Crashed: ValueError: no"}
RAISED = {
    "at": "2026-11-15T12:00:00Z", "message": "erp_error raised", "BILLINGD_ALARM_STATE": "raised",
    "BILLINGD_ALARM_CODE": "erp_error", "BILLINGD_ALARM_KEY": "one",
}  # fmt: skip


def test_item_4_a_message_that_quotes_an_event_is_none(tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    quoted = '"supervision_event": "GivenUp", "supervision_reason": "Crashed: no"'
    lines = [json.dumps({"message": quoted}), quoted, json.dumps(CRASHED), json.dumps(RAISED), json.dumps(RAISED)[:-9]]
    log.write_text("\n".join([*lines, "[1]", "the daemon can't start: no room"]))
    assert len(list(log_entries(log))) == 3
    assert supervision_events(log, "Exited") == [CRASHED]
    assert supervision_events(log, "GivenUp") == []
    assert [(seen.code, seen.state) for seen in AlarmLog(log).all()] == [("erp_error", "raised")]
    assert supervision_events(tmp_path / "none.log", "Exited") == []


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        ("a (one) raised, a (one) updated, a (one) cleared, a (one) raised, a (one) cleared", []),
        ("a (one) raised, truth (data) raised", []),
        ("a (one) raised, a (two) raised", ["a (one), a (two): 2 alarms of one cause"]),
        ("a (one) raised, b (one) raised", ["a (one), b (one): 2 alarms of one cause"]),
        ("truth (data) raised, truth (one) raised", ["truth (data), truth (one): 2 alarms of one cause"]),
        ("a (one) raised, c (one) raised", ["nothing here causes the alarm c (one)"]),
        ("a (one) raised" + ", a (one) updated" * 3, ["4 lines of the alarm a (one)"]),
        (", ".join(["a (one) raised, a (one) cleared"] * 4), ["4 lines of the alarm a (one)"]),
    ],
)
def test_a_cause_is_one_alarm_of_three_lines(told: str, wrong: list[str]) -> None:
    lines = [AlarmLine(0.0, code, key[1:-1], state, "") for code, key, state in map(str.split, told.split(", "))]
    assert judge_alarms(lines, ("a", "b"), ("truth",)) == wrong
