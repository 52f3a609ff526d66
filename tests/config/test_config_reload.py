"""What a changed file changes: compared, applied live or left for a restart; and the default file."""

from pathlib import Path
from typing import Any

import pytest

import config
from config.default_file import default_file
from config.diff import apply_reload, changes
from config.keys import KEYS, nested
from config.load import ConfigurationRejected, load
from config.settings import Settings


def settings(flat: dict[str, Any]) -> Settings:
    return Settings.model_validate(nested(flat))


def test_nothing_differs_between_equal_settings() -> None:
    assert changes(Settings(), Settings()) == []


def test_a_change_says_from_what_to_what_and_whether_it_waits() -> None:
    new = settings({"erp.retry.max_seconds": 60, "work.max_attempts": 5})
    assert [str(change) for change in changes(Settings(), new)] == [
        "erp.retry.max_seconds: 300.0 -> 60.0",
        "work.max_attempts: 3 -> 5 (waits for a restart)",
    ]


def test_a_changed_password_is_a_change_that_shows_neither() -> None:
    old, new = (settings({"database.url": f"postgresql://u:{secret}@h/n"}) for secret in ("alt", "neu"))
    (change,) = changes(old, new)
    assert change.key == "database.url"
    assert change.old == change.new == "postgresql://u:***@h/n"


def test_a_reload_takes_the_live_keys_and_leaves_the_others() -> None:
    running = settings({"work.max_attempts": 4})
    new = settings({"work.max_attempts": 5, "erp.max_in_flight": 3, "log.level": "debug", "log.format": "json"})
    assert apply_reload(running, new) == settings(
        {"work.max_attempts": 4, "erp.max_in_flight": 3, "log.level": "debug", "instance": running.instance}
    )


def test_what_only_goes_together_after_a_restart_is_refused_as_a_whole() -> None:
    new = settings({"erp.total_timeout_seconds": 50, "work.lease_seconds": 100, "supervision.hang_seconds": 70})
    with pytest.raises(ConfigurationRejected, match="waits for a restart") as rejected:
        apply_reload(Settings(), new)
    assert [problem.key for problem in rejected.value.problems] == ["work.lease_seconds"]


def test_the_committed_default_file_is_the_generated_one() -> None:
    committed = Path(config.__file__).with_name("billingd.yaml")
    assert committed.read_text() == default_file(), "write it anew: billingd config default > config/billingd.yaml"


def test_the_default_file_loads_to_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "billingd.yaml"
    path.write_text(default_file())
    assert load(path, {}).settings == Settings()


def test_the_default_file_with_every_example_in_force_still_loads(tmp_path: Path) -> None:
    path = tmp_path / "billingd.yaml"
    path.write_text("\n".join(_in_force(line) for line in default_file().splitlines()))
    loaded = load(path, {})
    assert {name for name, source in loaded.sources.items() if source.kind == "file"} == set(KEYS)


def _in_force(line: str) -> str:
    name = line.strip().removeprefix("# ").partition(":")[0]
    commented = line.strip().startswith("# ") and any(key.rpartition(".")[2] == name for key in KEYS)
    return line.replace("# ", "", 1) if commented else line
