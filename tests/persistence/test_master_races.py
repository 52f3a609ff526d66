"""What a daemon does from the master data of before while an import ends it: named, or not billed."""

from pathlib import Path
from typing import Any

import pytest

from persistence import master_data
from persistence.connection.database import Database
from persistence.locks import lock_meters_in_turns
from persistence.master_data import NO_LIMITS
from tests.persistence.test_taken_back import make_due, master, take, take_with_readings
from tests.support.calculated_rows import calculate_due

__all__ = ["master"]  # a fixture


def test_an_invoice_that_is_calculated_while_an_import_runs_is_named_too(
    database: Database, tmp_path: Path, master: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_with_readings(database, tmp_path, master)
    make_due(database)
    master["measurement_locations"][0]["network_user"] = "user-2"

    def lock(*arguments: Any) -> None:
        with Database(database.settings) as daemon:
            assert len(calculate_due(daemon)) == 2, "from the master data of before"
        lock_meters_in_turns(*arguments)

    monkeypatch.setattr(master_data, "lock_meters_in_turns", lock)
    assert take(database, tmp_path, master, NO_LIMITS).to_correct == {
        "user-1.2026-10.1": "calculated", "user-2.2026-10.1": "calculated",
    }  # fmt: skip


def test_what_comes_due_while_an_import_ends_that_is_not_billed(
    database: Database, tmp_path: Path, master: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_with_readings(database, tmp_path, master)
    master["network_users"][0] |= {"billed_from": "2026-11", "billed_until": "2026-12"}

    def lock(*arguments: Any) -> None:
        with Database(database.settings) as daemon:
            make_due(daemon)
        lock_meters_in_turns(*arguments)

    monkeypatch.setattr(master_data, "lock_meters_in_turns", lock)
    take(database, tmp_path, master, NO_LIMITS)
    assert calculate_due(database) == {"user-2.2026-10.1"}
    monkeypatch.undo()
    assert take(database, tmp_path, master, NO_LIMITS).taken_back == 1
