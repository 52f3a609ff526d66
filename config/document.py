"""Reads YAML into plain values and remembers on which line each key stands."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import yaml

from files.yaml_nodes import NotYaml, compose, key_values, line_of

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


class _Reader:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.constructor = yaml.constructor.SafeConstructor()
        self.seen: set[int] = set()

    def refuse(self, path: KeyPath, node: yaml.Node, message: str) -> None:
        self.document.problems.append(Problem(dotted(path), line_of(node), message))

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
            self.document.lines[(*path, index)] = line_of(item)
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
        def refuse(key: yaml.Node, name: str, message: str) -> None:
            self.refuse((*path, name) if name else path, key, message)

        result: dict[str, Any] = {}
        for name, key, value in key_values(node, refuse):
            self.document.lines[(*path, name)] = line_of(key)
            result[name] = self.value(value, (*path, name))
        return result


def read(content: bytes) -> Document:
    """Return what a file says; what is wrong with it as YAML is in the document's problems."""
    document = Document()
    try:
        node = compose(content)
    except NotYaml as error:
        document.problems.append(Problem("", error.line, str(error)))
        return document
    values = _Reader(document).value(node, ()) if node is not None else None
    if isinstance(values, dict):
        document.values = values
    elif values is not None and not document.problems:
        document.problems.append(Problem("", 1, "the file has to consist of lines `key: value`"))
    return document
