"""The command line as a process: its configuration commands, its statuses, its streams, its start."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.keys import KEYS
from config.load import DEFAULT_FILE
from tests.support.sample import ROOT

pytestmark = pytest.mark.slow

HEAVY = ("sqlalchemy", "httpx", "starlette", "uvicorn", "rich", "pykka", "alembic", "pg8000", "apscheduler")


def billingd(
    *arguments: str | Path, environ: dict[str, str] | None = None, shell: str = ""
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", *map(str, arguments)]
    if shell:
        command = ["sh", "-c", f'"$@" {shell}', "sh", *command]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BILLINGD")}
    return subprocess.run(
        command, cwd=ROOT, env={**clean, **(environ or {})}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text("erp:\n  base_url: http://127.0.0.1:8090/api/v1\ndatabase:\n  url: postgresql://u:geheim@h/n\n")
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text("erp:\n  base_urll: x\nwork:\n  max_attempts: 0\n")
    return path


def test_check_config_has_nothing_against_a_good_file(good: Path) -> None:
    done = billingd("--config", good, "check-config")
    assert (done.returncode, done.stdout) == (0, f"{good}: no problems\n")
    warnings = done.stderr.splitlines()
    assert len(warnings) == 2
    assert all(line.startswith("warning: line 4: database.url: ") for line in warnings)


def test_check_config_names_every_problem_with_key_and_line(bad: Path) -> None:
    done = billingd("--config", bad, "check-config")
    assert done.returncode == 2
    assert done.stdout.splitlines() == [
        f"{bad}: line 2: erp.base_urll: unknown key, did you mean erp.base_url?",
        f"{bad}: line 4: work.max_attempts: has to be greater than or equal to 1",
    ]


def test_check_config_refuses_a_file_that_it_names_and_notes_what_only_run_will_need(
    good: Path, tmp_path: Path
) -> None:
    good.write_text(f"erp:\n  token_file: {tmp_path}/none\n")
    done = billingd("--config", good, "check-config")
    assert done.returncode == 2
    assert done.stdout == (
        f"{good}: line 2: erp.token_file: cannot read the token file {tmp_path}/none: no such file or directory\n"
    )
    good.write_text("erp: {}\n")
    done = billingd("--config", good, "check-config")
    assert (done.returncode, done.stderr) == (0, "note: erp.base_url is not set: `billingd run` needs it\n")


def test_the_file_is_found_by_the_variable(bad: Path) -> None:
    assert billingd("check-config", environ={"BILLINGD_CONFIG": str(bad)}).returncode == 2


def test_config_show_tells_each_value_and_where_it_comes_from(good: Path, tmp_path: Path) -> None:
    done = billingd("--config", good, "config", "show", environ={"STATE_DIRECTORY": str(tmp_path)})
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == list(KEYS)
    told = {row[0]: row[1:] for row in rows}
    assert told["state_dir"] == [str(tmp_path), "environment STATE_DIRECTORY"]
    assert told["erp.base_url"] == ["http://127.0.0.1:8090/api/v1", "file line 2"]
    assert told["database.url"] == ["postgresql://u:***@h/n", "file line 4"]
    assert told["work.lease_seconds"] == ["60", "default"]


def test_config_show_as_json_is_one_document_without_secrets(good: Path) -> None:
    done = billingd("--config", good, "config", "show", "--json")
    document = json.loads(done.stdout)
    assert document["path"] == str(good)
    assert len(document["sha256"]) == 64
    assert document["keys"]["database.url"] == {
        "value": "postgresql://u:***@h/n",
        "source": "file",
        "detail": "line 4",
        "live": False,
    }
    assert document["keys"]["billing.min_coverage_percent"]["value"] == "95"
    assert set(document["keys"]) == set(KEYS)
    assert "geheim" not in done.stdout + done.stderr


def test_config_show_with_a_bad_file_fails_in_one_line(bad: Path) -> None:
    done = billingd("--config", bad, "config", "show")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"the configuration can't be used: {bad}: line 2: erp.base_urll: unknown key, did you mean erp.base_url? "
        "(and 1 more: billingd check-config lists them)\n"
    )


def test_config_default_prints_the_default_file() -> None:
    assert billingd("config", "default").stdout == DEFAULT_FILE.read_text()


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["config"], ["config", "nonsense"], ["config", "show", "--bad"], ["check-config", "extra"]],
)
def test_being_used_wrongly_ends_with_64_and_says_how_it_is_used(arguments: list[str]) -> None:
    done = billingd(*arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("Usage: billingd")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["config", "--help"], ["check-config", "--help"]])
def test_help_goes_to_standard_output(arguments: list[str]) -> None:
    done = billingd(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: billingd")


def test_the_version_is_one_line() -> None:
    done = billingd("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("billingd")
    assert done.stdout.count("\n") == 1


def test_the_frame_imports_nothing_that_only_some_commands_need() -> None:
    program = (
        "import sys\nfrom cli.app import run\n"
        "assert run(['--help']) == 0 and run(['check-config']) == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("shell", "message"),
    [
        ("> /dev/full", "cannot write the output: No space left on device"),
        ("| true", ""),
        (">&-", ""),
    ],
)
def test_an_output_that_takes_nothing_ends_without_a_traceback(shell: str, message: str) -> None:
    done = billingd("config", "show", shell=shell)
    assert done.stderr.strip() == message
