"""What a drill concludes from a daemon's log: from the fields of its lines, never from what a message quotes."""

import json
from pathlib import Path

from testkit.daemon_log import AlarmLog, log_entries, supervision_events

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
