"""The state machine: its arrows, and that the schema, the drills' judge and the documents draw the same."""

import ast
import re
from itertools import pairwise, product
from pathlib import Path

import pytest

from billing.states import ARROWS, FINAL_STATES, OPEN_STATES, State, allowed_from, is_allowed
from drills.judge import ARROWS as JUDGED

ROOT = Path(__file__).resolve().parents[2]
GUARD = ROOT / "persistence/schema/sql/0001_guards.sql"
WORDS = "|".join(State)

# Where the words of the states stand in strings of Python, and why. All other rooms say State.X.
MAY_NAME_STATES = {
    "altibiz": "the words of the ERP's contract, which are its own",
    "drills": "the judge trusts none of the program's own tables",
    "persistence/invoices": "the SQL of invoices",
    "persistence/schema": "the schema",
    "billing/states.py": "they are defined here",
}


def test_final_states_lead_nowhere() -> None:
    assert {State.REGISTERED, State.ABORTED} == FINAL_STATES
    assert not any(allowed_from(state) for state in FINAL_STATES)
    assert set(State) == OPEN_STATES | FINAL_STATES


@pytest.mark.parametrize("state", sorted(OPEN_STATES))
def test_every_open_state_can_be_ended(state: State) -> None:
    assert is_allowed(state, State.ABORTED)


def test_the_only_steps_back_are_out_of_held_and_from_initiated_to_sent() -> None:
    way = [State.DUE, State.CALCULATED, State.SENT, State.INITIATED, State.REGISTERED]
    back = {(a, b) for a, b in product(way, way) if way.index(b) < way.index(a) and is_allowed(a, b)}
    assert back == {(State.INITIATED, State.SENT)}
    assert is_allowed(State.HELD, State.CALCULATED, held_from=State.CALCULATED)
    assert not is_allowed(State.HELD, State.CALCULATED, held_from=State.SENT)
    assert not is_allowed(State.HELD, State.DUE)


def test_the_trigger_of_the_schema_has_the_same_arrows() -> None:
    arrows = re.findall(r"OLD\.state = '(\w+)' +AND NEW\.state IN \(([^)]*)\)", GUARD.read_text("utf-8"))
    drawn = {State(old): set(re.findall(r"'(\w+)'", new)) for old, new in arrows}
    assert drawn == {state: set(allowed_from(state)) for state in OPEN_STATES}


def test_the_judge_of_the_drills_has_the_same_arrows() -> None:
    for state in OPEN_STATES - {State.HELD}:
        assert JUDGED[state] == set(ARROWS[state])
    back = {state for state in OPEN_STATES if is_allowed(state, State.HELD)}
    assert JUDGED[State.HELD] == ARROWS[State.HELD] | back
    assert not any(JUDGED.get(state) for state in FINAL_STATES)


@pytest.mark.parametrize("document", ["README.md", "docs/spec/billing.md"])
def test_a_picture_has_all_states_and_only_steps_that_are_allowed(document: str) -> None:
    picture = re.search(r"^```\n(due ──► .*?)^```$", (ROOT / document).read_text("utf-8"), flags=re.M | re.S)
    assert picture is not None
    assert set(re.findall(r"\b[a-z]+\b", picture[1])) == set(State)
    way = re.findall(r"[a-z]+", picture[1].splitlines()[0])
    assert all(is_allowed(State(a), State(b)) for a, b in pairwise(way))
    rows = re.findall(r"^\| `?(\w+)`? \|", (ROOT / document).read_text("utf-8"), flags=re.M)
    assert set(State) <= set(rows)


def production_files(*suffixes: str) -> list[Path]:
    rooms = ("actors", "alarming", "altibiz", "billing", "cli", "config", "daemon", "drills", "persistence", "web")
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*") if path.suffix in suffixes)


def strings_of(path: Path) -> list[str]:
    """The strings of a module of Python; of a template what states are compared with; of other files the whole text."""
    if path.suffix == ".html":
        return re.findall(r"state (?:[!=]=|in) (.*?)%}", path.read_text("utf-8").replace('"', "'"))
    if path.suffix != ".py":
        return [path.read_text("utf-8")]
    tree = ast.parse(path.read_text("utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
    ]


def names_a_state(text: str) -> bool:
    """A word of a state that stands alone, or in quotes as in SQL."""
    return bool(re.fullmatch(WORDS, text) or re.search(rf"'({WORDS})'", text))


def test_states_are_named_in_one_place() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in production_files(".py", ".sql", ".html")
        if not str(path.relative_to(ROOT)).startswith(tuple(MAY_NAME_STATES))
        and any(map(names_a_state, strings_of(path)))
    }
    assert found == set()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("some.py", 'if state == "held":\n    pass\n'),
        ("some.py", "SQL = \"SELECT id FROM invoices WHERE state = 'held'\"\n"),
        ("some.sql", "-- name: some\nSELECT id FROM invoices WHERE state IN ('due', 'held')\n"),
        ("some.html", '{% if invoice.state == "held" %}'),
    ],
)
def test_a_state_named_elsewhere_is_found(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert any(map(names_a_state, strings_of(tmp_path / name)))


def test_one_module_writes_the_history_and_the_state() -> None:
    writers = re.compile(r"INSERT INTO (?:invoice_history|invoices)\b|UPDATE invoices\b[^;]*?\bSET\s+state\b", re.S)
    files = production_files(".py", ".sql")
    found = {str(path.relative_to(ROOT)) for path in files if writers.search(path.read_text("utf-8"))}
    assert found == {"persistence/invoices/transitions.py"}
