"""A file of the inbox that fails again and again: its alarm stands as long as it does, and others are imported."""

import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from actors.importer import Importer
from actors.messages import ALARMS, IMPORTER, Poll
from alarming.alarm import Now
from alarming.conditions import ConditionActive
from alarming.register import Action, AlarmRegister
from persistence import imports
from persistence.connection.errors import DatabaseFailed
from testkit.postgres import PostgresServer
from tests.support.actor_context import SkippingClock, make_context
from tests.support.sample import SAMPLE
from tests.support.supervision import ActorHarness

BEGUN = datetime(2026, 11, 28, tzinfo=UTC)
LOOKS = 40


class Stepped(SkippingClock):
    """Each look begins at a whole second, as by the actor's timer, and takes its moment."""

    def monotonic(self) -> float:
        self.skipped_seconds += 0.0001
        return self.skipped_seconds


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DatabaseFailed("no privilege for the table readings", "42501"), "database_error"),
        (PermissionError(13, "Permission denied"), "inbox_unusable"),
    ],
    ids=["the_database_refuses_it", "it_cannot_be_read"],
)
def test_its_alarm_is_raised_once_and_cleared_when_it_is_imported(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    clock = Stepped()
    context = make_context(server.url(), clock, intake={"inbox": str(tmp_path), "settle_seconds": 0.01})
    alone = ActorHarness(IMPORTER, lambda: Importer(context, Counter()))
    register, seconds = AlarmRegister("here"), 0.0
    done: list[tuple[str, str]] = []

    def look() -> None:
        nonlocal seconds
        alone.actor.on_receive(Poll())
        now = Now(seconds, BEGUN + timedelta(seconds=seconds))
        outcomes: list[Any] = []
        for name, message in alone.told:
            if name == ALARMS:
                take = register.activate if isinstance(message, ConditionActive) else register.clear
                outcomes += take(message, now)
        alone.told.clear()
        outcomes += register.tick(now)
        done.extend((str(each.change), each.record.code) for each in outcomes if isinstance(each, Action))
        seconds += 1.0
        clock.skipped_seconds = seconds

    real = imports.import_file

    def refuse(connection: Any, arrival: Any, path: Path, **more: Any) -> Any:
        if path.name == "bad.yaml":
            raise error
        return real(connection, arrival, path, **more)

    monkeypatch.setattr(imports, "import_file", refuse)
    shutil.copyfile(SAMPLE / "master.yaml", tmp_path / "bad.yaml")
    alone.actor.on_start()
    for _ in range(LOOKS):
        look()
    assert [each for each in done if each[0] != "updated"] == [("raised", code)]
    monkeypatch.undo()
    for _ in range(3):
        look()
    assert done[-1] == ("cleared", code)
    alone.actor.on_stop()
