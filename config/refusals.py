"""Says in words for operators what pydantic refuses, with key, line and the key that was probably meant."""

import difflib
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config.document import Document, KeyPath, Problem, dotted
from config.keys import KEYS
from config.sections import AlarmRule
from config.settings import Contradictions, Settings

_WORDS = {
    "missing": "is missing",
    "string_type": "has to be text (put it in quotes)",
    "path_type": "has to be a path",
    "int_type": "has to be a whole number",
    "float_type": "has to be a number",
    "finite_number": "has to be a finite number",
    "model_type": "has to be a section with keys of its own, each on an indented line",
    "model_attributes_type": "has to be a section with keys of its own, each on an indented line",
    "tuple_type": "has to be a list",
    "string_pattern_mismatch": "has to consist of small letters, digits and _, and begin with a letter",
}


def problems_of(error: ValidationError, values: dict[str, Any], document: Document) -> list[Problem]:
    """Return one problem for each thing that is wrong in `values`, the rules between keys included."""
    refused = [detail for detail in error.errors(include_url=False) if detail["type"] != "default_factory_not_called"]
    problems = []
    for detail in refused:
        cause = cause_of(detail)
        problems += _contradictions(cause, document) if cause else [_problem(detail, document)]
    # pydantic looks at the rules between keys only when each key by itself is right.
    if paths := [detail["loc"] for detail in refused if detail["loc"]]:
        bad = {dotted(path) for path in paths}
        try:
            Settings.model_validate(_without(values, paths))
        except ValidationError as second:
            for cause in filter(None, map(cause_of, second.errors(include_url=False))):
                cause.problems = [each for each in cause.problems if bad.isdisjoint(each[1])]
                problems += _contradictions(cause, document)
    return problems


def cause_of(detail: ErrorDetails) -> Contradictions | None:
    """The rule between keys that a detail stands for; None if it is about one key."""
    cause = detail.get("ctx", {}).get("error")
    return cause if isinstance(cause, Contradictions) else None


def _contradictions(found: Contradictions, document: Document) -> list[Problem]:
    problems = []
    for key, involved, message in found.problems:
        lines = [document.lines.get(tuple(name.split("."))) for name in involved]
        # Where the key itself is left at its default, the line is that of the one that clashes with it.
        problems.append(Problem(key, next((line for line in lines if line is not None), None), message))
    return problems


def _problem(detail: ErrorDetails, document: Document) -> Problem:
    path: KeyPath = detail["loc"]
    line = document.line(path)
    kind = detail["type"]
    cause = detail.get("ctx", {}).get("error")
    if kind == "extra_forbidden":
        return Problem(dotted(path), line, "unknown key" + _suggestion(path))
    if isinstance(cause, Exception):
        return Problem(dotted(path), line, str(cause))
    words = _WORDS.get(kind) or detail["msg"].replace("Input should be", "has to be").replace("Input should", "should")
    return Problem(dotted(path), line, words)


def _suggestion(path: KeyPath) -> str:
    """Return `, did you mean X?` for the known key that is most like it: a neighbour, else any."""
    name, parent = str(path[-1]), dotted(path[:-1])
    prefix = f"{parent}." if parent else ""
    neighbours = {key.removeprefix(prefix).partition(".")[0] for key in KEYS if key.startswith(prefix)}
    searches: list[tuple[str, dict[str, str], float]] = [
        (dotted(path).replace(".", "_"), {key.replace(".", "_"): key for key in KEYS}, 0.95),
        (name, {each: prefix + each for each in neighbours}, 0.6),
        (name, {key.rpartition(".")[2]: key for key in KEYS}, 0.7),
    ]
    if path[:2] == ("alarms", "rules"):
        searches = [(name, {each: each for each in AlarmRule.model_fields}, 0.6)]
    for word, known, cutoff in searches:
        if near := difflib.get_close_matches(word, sorted(known), n=1, cutoff=cutoff):
            return f", did you mean {known[near[0]]}?"
    return ""


def _without(values: dict[str, Any], paths: list[tuple[str | int, ...]]) -> dict[str, Any]:
    """Return `values` without what stands at `paths`; a list that holds one of them goes as a whole."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        within = [path[1:] for path in paths if path[0] == name]
        if not within:
            result[name] = value
        elif isinstance(value, dict) and () not in within:
            result[name] = _without(value, within)
    return result
