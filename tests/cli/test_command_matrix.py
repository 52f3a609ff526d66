"""Every command under every condition: it ends with a documented status and says one line, never a traceback."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from cli.app import COMMANDS, app
from tests.support.command_forks import CommandForks, Ended
from tests.support.sample import BAD, ROOT

# docs/spec/interfaces.md, "Commands": the statuses besides 0, 1 and 64.
STATUSES = {"check-config": {2}, "status": {3}, "reconcile": {2}}
ARGUMENTS: dict[str, list[str]] = {
    "import master": [str(BAD / "master.yaml")],
    "import readings": [str(BAD / "readings-2026-08.csv.gz")],
    "issue": ["--period", "2026-08"],
    "invoices show": ["user-1.2026-08.1"],
    "invoices explain": ["user-1.2026-08.1"],
    "invoices retry": ["--all-held", "--reason", "why"],
    "invoices approve": ["--period", "2026-08", "--yes"],
    "invoices correct": ["user-1.2026-08.1", "--reason", "why"],
    "invoices waive": ["user-1.2026-08.1", "--reason", "why"],
    "alarms ack": ["1"],
    "alarms explain": ["erp_unreachable"],
    "pause": ["--for", "1h", "--reason", "why"],
    "export": ["--period", "2026-08"],
    "last-words": ["billingd:signal:killed:KILL"],
    # What takes long and has tests of its own is here for how it is refused.
    "demo": ["--directory", "/proc/none"],
    "drill": ["--failure", "none"],
    "fake-altibiz": ["--port", "none"],
}
CONDITIONS = (
    "no configuration", "broken configuration", "database away", "ERP away", "not permitted", "no state directory",
    "stdin closed", "stdout closed", "full disk", "LANG=C",
)  # fmt: skip
AS_NOBODY = ("not permitted", "no state directory")
TALKS_OF_ITSELF = {"run", "last-words"}  # into the log
ON_STANDARD_OUTPUT = {"check-config", "doctor", "status", "reconcile", "verify"}
NEEDS_NOTHING = {"config default", "db grants", "alarms explain", "demo", "drill", "fake-altibiz"}


def names() -> list[str]:
    found = []
    context: Any = None
    group: Any = get_command(app)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        further = command.list_commands(context) if hasattr(command, "list_commands") else ()
        found += [f"{name} {each}" for each in further] or [name]
    assert {name.split()[0] for name in found} == set(COMMANDS)
    return found


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandForks]:
    forks = CommandForks(tmp_path_factory.mktemp("forks"))
    yield forks
    forks.close()


def configuration(home: Path, database_url: str, condition: str) -> Path:
    path = home / "billingd.yaml"
    if condition == "no configuration":
        return home / "none.yaml"
    document = {
        "state_dir": str(home / "state"),
        "database": {"url": "postgresql://nobody@127.0.0.1:1/none" if condition == "database away" else database_url},
        "erp": {"base_url": "http://127.0.0.1:1/api", "total_timeout_seconds": 2},
        "ops": {"listen": "off"},
    }
    if condition == "no state directory":
        document["database"] = {"url": "embedded"}
    path.write_text("erp: [\n" if condition == "broken configuration" else yaml.safe_dump(document))
    path.chmod(0o600 if condition == "not permitted" else 0o644)
    return path


def run(forks: CommandForks, name: str, config: Path, condition: str) -> Ended:
    of_condition: dict[str, dict[str, Any]] = {
        "stdin closed": {"stdin": None},
        "stdout closed": {"stdout": None},
        "full disk": {"stdout": "/dev/full"},
        "LANG=C": {"encoding": "ascii"},
        "not permitted": {"nobody": True},
        "no state directory": {"nobody": True},
    }
    arguments = ["--config", str(config), *name.split(), *ARGUMENTS.get(name, [])]
    return forks(*arguments, stopped=name == "run", **of_condition.get(condition, {}))


def wrong(name: str, condition: str, ended: Ended) -> str | None:
    """What is wrong with how it ended; None if nothing is."""
    if ended.hung:
        return "it hangs"
    if ended.status not in {0, 1, 64} | STATUSES.get(name, set()):
        return f"it ends with {ended.status}"
    if "Traceback" in ended.err + ended.out:
        return "it ends in a traceback"
    said = [line for line in ended.err.splitlines() if not line.startswith(("note: ", "warning: "))]
    if ended.status and name in ON_STANDARD_OUTPUT and (ended.out or condition == "stdout closed"):
        return None
    if condition == "full disk" and said[-1:] == ["cannot write the output: No space left on device"]:
        said = said[-1:]  # what it noted before is true
    if ended.status == 1 and name not in TALKS_OF_ITSELF and len(said) != 1:
        return f"it says {len(said)} lines"
    if condition in ("no configuration", "broken configuration", "not permitted") and name not in NEEDS_NOTHING:
        return None if ended.status or name == "last-words" else "it takes what it has not read"
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root looks with another user's eyes")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_each_command_ends_with_a_documented_status_and_one_line(
    forks: CommandForks, condition: str, database_url: str, tmp_path: Path
) -> None:
    if condition in AS_NOBODY and not all(folder.stat().st_mode & 0o001 for folder in (ROOT, *ROOT.parents)):
        pytest.skip("other users can't enter this checkout")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    config = configuration(tmp_path, database_url, condition)
    (tmp_path / "state").mkdir(mode=0o700)
    found = {}
    for name in names():
        ended = run(forks, name, config, condition)
        if problem := wrong(name, condition, ended):
            found[name] = (problem, ended.status, ended.out[-100:], ended.err[-400:])
    assert not found, "\n".join(f"{name}: {what}" for name, what in found.items())
