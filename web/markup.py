"""HTML as values: whatever is no markup yet is escaped on its way in, so that no text can ever become markup."""

from collections.abc import Iterable
from html import escape
from typing import Any

_VOID = frozenset({"br", "input", "link", "meta"})


class Html(str):
    """Text that is markup; only this module makes it."""

    __slots__ = ()


def join(*content: Any) -> Html:
    """One piece of several: markup stays, other values become text, None and False are left out."""
    return Html("".join(_pieces(content)))


def tag(name: str, /, *content: Any, **attributes: Any) -> Html:
    """An element. Attributes: `class_` is class, `a_b` is a-b, True has no value, None and False are left out."""
    given = "".join(_attribute(key, value) for key, value in attributes.items() if value not in (None, False))
    return Html(f"<{name}{given}>" if name in _VOID else f"<{name}{given}>{join(*content)}</{name}>")


def document(*content: Any) -> Html:
    """A whole page."""
    return Html("<!doctype html>\n" + tag("html", *content, lang="en"))


def _attribute(key: str, value: Any) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def _pieces(content: Iterable[Any]) -> Iterable[str]:
    for each in content:
        if each is None or each is False:
            continue
        if isinstance(each, Html):
            yield each
        elif isinstance(each, str) or not isinstance(each, Iterable):
            yield escape(str(each))
        else:
            yield from _pieces(each)
