"""Reads YAML that people have written into nodes with their lines: YAML 1.2's scalars, nested to a bounded depth."""

import re
from collections.abc import Callable, Iterator

import yaml

try:
    from yaml import CSafeLoader as BaseLoader  # ten times as quick
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeLoader as BaseLoader  # type: ignore[assignment]

DEPTH_LIMIT = 32
"""How deep sections and lists may be nested: composing them is recursive."""


class NotYaml(ValueError):  # noqa: N818 - what is wrong, for people
    """A text that is no YAML, with the reason for people; `line` counts from 1, None where it is not known."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


class _Loader(BaseLoader):
    """The scalars of version 1.2, so that `off` is a word and `010` no eight."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as in its base


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first)


def compose(content: bytes) -> yaml.Node | None:
    """The node of the one document that a file holds, None for an empty one. Raises NotYaml."""
    try:
        text = content.decode("utf-8-sig")
        _check_depth(text)
        return yaml.compose(text, Loader=_Loader)
    except UnicodeDecodeError as error:
        raise NotYaml("the file is not UTF-8 text", content[: error.start].count(b"\n") + 1) from None
    except yaml.MarkedYAMLError as error:
        raise _marked(error) from None
    except yaml.YAMLError:
        raise NotYaml("the file holds characters that YAML does not allow") from None


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEPTH_LIMIT:
                raise NotYaml("the file is nested too deeply", event.start_mark.line + 1 if event.start_mark else None)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _marked(error: yaml.MarkedYAMLError) -> NotYaml:
    """With line and reason only: the library's own text also quotes the line, which may hold a password."""
    mark = error.problem_mark or error.context_mark
    reason = error.problem or "this is not YAML"
    if "alias" in f"{error.context} {reason}":
        reason += " (a value that begins with * has to stand in quotes)"
    return NotYaml(f"not valid YAML: {reason}", mark.line + 1 if mark else None)


def line_of(node: yaml.Node) -> int:
    """The line on which a node begins, from 1."""
    return int(node.start_mark.line) + 1


def key_values(
    node: yaml.MappingNode, refuse: Callable[[yaml.Node, str, str], None]
) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Name, key and value of each entry of a mapping.

    `refuse` takes the key of an entry that is left out, its name ("" if it has none) and the reason.
    """
    lines: dict[str, int] = {}
    for key, value in node.value:
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
        if not name:
            refuse(key, "", "a key has to be a word")
        elif name in lines:
            refuse(key, name, f"stands in line {lines[name]} already")
        else:
            lines[name] = line_of(key)
            yield name, key, value
