"""Text and JSON that any column, log and file can hold, made of whatever somebody put in."""

import json
import re
from collections.abc import Mapping
from typing import Any

_LINE_CHARACTERS = 500
_CONTEXT_CHARACTERS = 20_000
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # as JSON writes it, unless the backslash is itself escaped


def clean_line(text: str, characters: int = _LINE_CHARACTERS) -> str:
    """One line of at most so many characters."""
    whole = text.encode("utf-8", "replace").decode().replace("\0", "")
    return " ".join(whole[: 4 * characters].split())[:characters]


def clean_context(context: Mapping[str, Any]) -> dict[str, Any]:
    """The same as values of JSON, of bounded size."""
    try:
        text = json.dumps(dict(context), ensure_ascii=False, default=str)
    except (TypeError, ValueError):  # a key that is no text, or a circle
        text = json.dumps({"context": repr(context)}, ensure_ascii=False)
    if len(text) > _CONTEXT_CHARACTERS:
        text = json.dumps({"context": text[:_LINE_CHARACTERS]}, ensure_ascii=False)
    plain = _NUL.sub(r"\1", text).encode("utf-8", "replace")
    cleaned: dict[str, Any] = json.loads(plain, parse_constant=str)
    return cleaned
