"""What a changed file changes: compared, applied live or left for a restart; and the default file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from config.diff import apply_reload, changes
from config.keys import KEYS, nested, section_of
from config.load import DEFAULT_FILE, ConfigurationRejected, load
from config.sections import Section
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


def test_the_default_file_describes_every_key_in_its_order() -> None:
    """A sentence above each section and key; [reload] behind those of the live keys."""
    described: list[tuple[str, str]] = []
    comment: list[str] = []
    for line in DEFAULT_FILE.read_text().partition("\n\n")[2].splitlines():
        assert len(line) <= 100, line
        name, colon, _ = _in_force(line).strip().partition(":")
        if name.startswith("#"):
            comment.append(line.strip().removeprefix("# "))
        elif colon:
            described.append((name, " ".join(comment)))
            comment.clear()
    names = list(_names(Settings, ""))
    assert [name for name, _ in described] == [name.rpartition(".")[2] for name in names]
    live = {name for name, key in KEYS.items() if key.live}
    for name, (_, text) in zip(names, described, strict=True):
        sentences = text.removesuffix(" [reload]")
        assert sentences[:1].isupper(), name
        assert sentences.endswith("."), name
        assert text.endswith("[reload]") is (name in live), name


def _names(model: type[Section], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        if section := section_of(field):
            yield from _names(section, f"{prefix}{name}.")


def test_the_default_file_loads_to_the_defaults() -> None:
    """A key without a line in force has no default that could stand there."""
    loaded = load(DEFAULT_FILE, {})
    assert loaded.settings == Settings()
    left_out = {KEYS[name].default for name, source in loaded.sources.items() if source.kind == "default"}
    assert left_out <= {None, (), Path("var"), PydanticUndefined}


def test_the_default_file_with_every_example_in_force_still_loads(tmp_path: Path) -> None:
    path = tmp_path / "billingd.yaml"
    path.write_text("\n".join(_in_force(line) for line in DEFAULT_FILE.read_text().splitlines()))
    loaded = load(path, {})
    assert {name for name, source in loaded.sources.items() if source.kind == "file"} == set(KEYS)


def _in_force(line: str) -> str:
    name = line.strip().removeprefix("# ").partition(":")[0]
    commented = line.strip().startswith("# ") and any(key.rpartition(".")[2] == name for key in KEYS)
    return line.replace("# ", "", 1) if commented else line
