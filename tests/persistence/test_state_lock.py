"""The lock of the state directory: what it may not do to other files."""

import errno
from pathlib import Path

import pytest

from alarming.spool import Spool
from daemon.reload import outcome_path, write_outcome
from persistence.embedded.server import StateLock


def test_no_file_of_the_state_directory_is_written_through_a_link(tmp_path: Path) -> None:
    precious, state = tmp_path / "precious", tmp_path / "state"
    state.mkdir()
    precious.write_text("precious")
    for name in ("lock", "alarms.new", "reload.new"):
        (state / name).symlink_to(precious)
    with pytest.raises(OSError) as refused, StateLock(state, "test"):  # noqa: PT011 - its number is looked at
        pass
    assert refused.value.errno == errno.ELOOP
    write_outcome(outcome_path(state), ["taken"], accepted=True)
    assert Spool(state / "alarms.jsonl").broken is not None
    assert precious.read_text() == "precious"
