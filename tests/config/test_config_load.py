"""Where the configuration is found, and how everything wrong with it is named."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import config.load
from config.document import read
from config.keys import KEYS
from config.load import ConfigurationRejected, load
from config.settings import Settings

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        path = tmp_path / "billingd.yaml"
        path.write_text(text)
        return path

    return written


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigurationRejected) as rejected:
        load(path, {})
    return [str(problem) for problem in rejected.value.problems]


def test_every_problem_is_named_at_once_with_key_and_line(write: Write) -> None:
    path = write(
        "databse: {url: embedded}\n"
        "erp:\n"
        "  base_url: ftp://x\n"
        "  total_timeout_seconds: 100\n"
        "  retry: 5\n"
        "  retry_base_seconds: 4\n"
        "ops:\n"
        "  listen: off\n"
        "  listen: 3\n"
        "alarms:\n"
        "  rules:\n"
        "    - {logger: x, patern: a, code: Xx}\n"
        "read_timeout: 4\n"
    )
    assert problems(path) == [
        "line 1: databse: unknown key, did you mean database?",
        "line 3: erp.base_url: give a URL that starts with http:// or https:// and a host",
        "line 4: supervision.hang_seconds: 60 is too short: who merely waits must not count as hung "
        "(erp.total_timeout_seconds is 100), so at least 110",
        "line 4: work.lease_seconds: 60 is too short: a claim has to outlast its request "
        "(erp.total_timeout_seconds is 100), so at least 200",
        "line 5: erp.retry: has to be a section with keys of its own, each on an indented line",
        "line 6: erp.retry_base_seconds: unknown key, did you mean erp.retry.base_seconds?",
        "line 9: ops.listen: stands in line 8 already",
        "line 12: alarms.rules[0].code: has to consist of small letters, digits and _, and begin with a letter",
        "line 12: alarms.rules[0].patern: unknown key, did you mean pattern?",
        "line 12: alarms.rules[0].pattern: is missing",
        "line 13: read_timeout: unknown key, did you mean erp.read_timeout_seconds?",
    ]


def test_a_rule_between_keys_blames_nobody_for_a_key_that_is_wrong_itself(write: Write) -> None:
    path = write("erp: {total_timeout_seconds: long}\nwork: {lease_seconds: 1}\n")
    assert problems(path) == ["line 1: erp.total_timeout_seconds: has to be a number"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("erp: [1\n", "line 2: not valid YAML: did not find expected ',' or ']'"),
        ("a: b: c\n", "line 1: not valid YAML: mapping values are not allowed in this context"),
        ("- a\n", "line 1: the file has to consist of lines `key: value`"),
        ("just words\n", "line 1: the file has to consist of lines `key: value`"),
        ("{}\n---\n{}\n", "line 2: not valid YAML: but found another document"),
        ("erp: !!python/object:os.system x\n", "line 1: erp: this is no value of the type"),
        ("erp: &a\n  retry: *a\n", "line 1: erp.retry: an alias (*name) can't stand for a section or a list here"),
        ("billing:\n  schedule: * * * * *\n", "has to stand in quotes"),
        ("log: {level: \x07}\n", "the file holds characters that YAML does not allow"),
        ("[" * 5000, "the file is nested too deeply"),
        ("erp:\n  base_url: http://h/\n  ? [a, b]\n  : 1\n", "line 3: erp: a key has to be a word"),
        ("work:\n  max_attempts:\n", "line 2: work.max_attempts: has to be a whole number"),
    ],
)
def test_a_file_that_is_no_such_mapping_is_refused_with_its_line(write: Write, text: str, problem: str) -> None:
    assert problem in "\n".join(problems(write(text)))


def test_a_password_in_broken_yaml_is_not_repeated(write: Write) -> None:
    assert "geheim" not in str(problems(write("database:\n  url: postgresql://u:geheim@h/n: x\n")))


def test_text_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"work:\n  # \xe8\n  max_attempts: 2\n")
    assert problems(path) == ["line 2: the file is not UTF-8 text"]


@given(st.text(st.sampled_from("ab:- \n[]{}#&*!|>'\"%@`,?\t1"), max_size=60))
def test_any_text_ends_in_values_of_which_each_has_its_line_or_in_problems(text: str) -> None:
    document = read(text.encode())
    assert all(problem.message for problem in document.problems)
    for key in document.values:
        assert 1 <= document.lines[(key,)] <= text.count("\n") + 1


def test_words_stay_words_as_in_yaml_1_2(write: Write) -> None:
    loaded = load(write("ops: {listen: off}\ninstance: no\nerp: {retry: {base_seconds: 1e-1}}\n"), {})
    assert loaded.settings.ops.address is None
    assert loaded.settings.instance == "no"
    assert loaded.settings.erp.retry.base_seconds == 0.1


def test_a_section_whose_keys_are_all_commented_out_holds_its_defaults(write: Write) -> None:
    path = write("erp:\n  breaker:\n  # reset_seconds: 3\nlog:\ninstance: a\n")
    assert load(path, {}).settings == Settings(instance="a")


def test_an_explicit_file_wins_over_the_variable_and_the_variable_over_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {name: tmp_path / name for name in ("explicit", "variable", "system")}
    for name, path in paths.items():
        path.write_text(f"instance: {name}\n")
    monkeypatch.setattr(config.load, "SYSTEM_FILE", paths["system"])
    environ = {"BILLINGD_CONFIG": str(paths["variable"])}
    assert load(paths["explicit"], environ).settings.instance == "explicit"
    assert load(None, environ).settings.instance == "variable"
    assert load(None, {}).settings.instance == "system"
    paths["system"].unlink()
    assert load(None, {}).path is None


def test_a_named_file_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    reason = ["cannot read the configuration file: no such file or directory"]
    assert problems(tmp_path / "none.yaml") == reason
    with pytest.raises(ConfigurationRejected, match=r"none\.yaml: cannot read"):
        load(None, {"BILLINGD_CONFIG": str(tmp_path / "none.yaml")})


def test_a_directory_a_device_or_a_very_large_file_is_a_problem(tmp_path: Path) -> None:
    assert problems(tmp_path) == ["cannot read the configuration file: is a directory"]
    assert problems(Path("/dev/zero")) == ["cannot read the configuration file: is no regular file"]
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 1_000_001)
    assert problems(tmp_path / "large") == ["the file is larger than 1000000 bytes"]


def test_each_value_names_its_source(write: Write, tmp_path: Path) -> None:
    (tmp_path / "erp-token").write_text("t")
    path = write("work:\n  max_attempts: 4\nerp:\n  # a comment\n  breaker: {reset_seconds: 3}\n")
    environ = {"STATE_DIRECTORY": "/var/lib/billingd:/other", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    loaded = load(path, environ)
    told = {name: str(source) for name, source in loaded.sources.items() if source.kind != "default"}
    assert told == {
        "state_dir": "environment STATE_DIRECTORY",
        "erp.token_file": "environment CREDENTIALS_DIRECTORY",
        "work.max_attempts": "file line 2",
        "erp.breaker.reset_seconds": "file line 5",
    }
    assert set(loaded.sources) == set(KEYS)
    assert loaded.settings.state_dir == Path("/var/lib/billingd")
    assert loaded.settings.instance.endswith(":/var/lib/billingd")
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_file_wins_over_the_surroundings(write: Write, tmp_path: Path) -> None:
    (tmp_path / "erp-token").write_text("t")
    path = write("state_dir: mine\nerp: {token_file: mine.token}\n")
    loaded = load(path, {"STATE_DIRECTORY": "/x", "CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert loaded.settings.state_dir == Path("mine")
    assert loaded.settings.erp.token_file == Path("mine.token")
    assert loaded.sources["erp.token_file"].kind == "file"
