"""What asks for a thread of its own while the machine gives none: nothing but that ask fails."""

import asyncio
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from alarming.chain_test import Arrival
from config.settings import Settings
from daemon.alarm_test import AlarmTester
from persistence.connection.database import ConnectionSettings, Database
from web.background_queries import QUERIES_AT_MOST, BackgroundQueries, DatabaseUnavailable


def refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_queries_of_the_control_room_are_made_again_once_there_are_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = ConnectionSettings((Path("/nowhere"),), "none", "nobody")
    queries = BackgroundQueries(lambda _: Database(nowhere))

    async def ask() -> str:
        with pytest.raises(DatabaseUnavailable) as raised:
            await queries.run(lambda _: None)
        return str(raised.value)

    async def ask_often() -> list[str]:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            said = [await ask() for _ in range(QUERIES_AT_MOST)]
        return [*said, await ask()]

    *refused, then = asyncio.run(ask_often())
    assert refused == ["no thread can be started for it: can't start new thread"] * QUERIES_AT_MOST
    assert "can't be reached" in then


def test_the_main_loop_goes_on_and_a_test_of_the_alarms_is_made_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran = threading.Event()

    def run() -> list[Arrival]:
        ran.set()
        return []

    settings = Settings.model_validate({"state_dir": str(tmp_path)})
    tester = AlarmTester(run, lambda: settings, lambda: datetime(2026, 11, 28, tzinfo=UTC))
    (tmp_path / "alarm-test.order").write_text("0" * 36)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        tester.look()
    assert not ran.is_set()
    tester.look()
    assert ran.wait(5)
