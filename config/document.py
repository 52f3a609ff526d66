"""Reads YAML into plain values and remembers on which line each key stands."""

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the configuration: the dotted key and the line (from 1), where they are known."""

    key: str
    line: int | None
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        return where + (f"{self.key}: " if self.key else "") + self.message


def dotted(path: KeyPath) -> str:
    """Return a path as people write it: `alarms.rules[0].code`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


@dataclass
class Document:
    """What a file says: nested values, the line of every key, and what is wrong with it as YAML."""

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: KeyPath) -> int | None:
        """Return the line of `path`, or of the nearest that holds it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of version 1.2, so that `ops.listen: off` is a word and `010` no eight."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as in its base


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first)


class _Reader:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.constructor = yaml.constructor.SafeConstructor()
        self.seen: set[int] = set()

    def refuse(self, path: KeyPath, node: yaml.Node, message: str) -> None:
        self.document.problems.append(Problem(dotted(path), node.start_mark.line + 1, message))

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        if id(node) in self.seen:
            self.refuse(path, node, "an alias (*name) can't stand for a section or a list here")
            return None
        self.seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        items: list[Any] = []
        for index, item in enumerate(node.value):
            self.document.lines[(*path, index)] = item.start_mark.line + 1
            items.append(self.value(item, (*path, index)))
        return items

    def scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Hashable:
        try:
            value: Hashable = self.constructor.construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError):
            self.refuse(path, node, f"this is no value of the type {node.tag}")
            return None
        return value

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
            if not key:
                self.refuse(path, key_node, "a key has to be a word")
                continue
            here = (*path, key)
            if key in result:
                first = self.document.lines[here]
                self.refuse(here, key_node, f"stands here a second time (first on line {first})")
                continue
            self.document.lines[here] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, here)
        return result


def read(text: str) -> Document:
    """Return what `text` says; what is wrong with it as YAML is in the document's problems."""
    document = Document()
    try:
        node = yaml.compose(text, Loader=_Loader)
        values = _Reader(document).value(node, ()) if node is not None else None
    except yaml.MarkedYAMLError as error:
        document.problems.append(Problem("", *_place_and_reason(error)))
        return document
    except yaml.YAMLError:
        document.problems.append(Problem("", None, "the file holds characters that YAML does not allow"))
        return document
    except RecursionError:
        document.problems.append(Problem("", None, "the file is nested too deeply"))
        return document
    if isinstance(values, dict):
        document.values = values
    elif values is not None and not document.problems:
        document.problems.append(Problem("", 1, "the file has to consist of lines `key: value`"))
    return document


def _place_and_reason(error: yaml.MarkedYAMLError) -> tuple[int | None, str]:
    """Return line and reason; the library's own text also quotes the line, which may hold a password."""
    mark = error.problem_mark or error.context_mark
    reason = error.problem or "this is not YAML"
    if "alias" in f"{error.context} {reason}":
        reason += " (a value that begins with * has to stand in quotes)"
    return (mark.line + 1 if mark else None), f"not valid YAML: {reason}"
