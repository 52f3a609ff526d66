"""What the repository cites exists: links of its documents, documents that a comment names, and their sections."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support.repository import files

ROOT = Path(__file__).resolve().parents[1]
SPEC = "docs/spec/"
DATA = {".gz", ".png"}

_FENCE = re.compile(r"^```.*?^```[^\n]*$", re.M | re.S)
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.M)
_LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)>\s]+)>?[^)]*\)")
_DOCUMENT = re.compile(r"(?<![\w./-])([\w.-][\w./-]*\.md|(?:[\w.-]+/)*altibiz-openapi\.yaml)\b(?![/\w])")
# What a line begins with where a citation goes on in the next one.
_NEXT_LINE = re.compile(r"\n[ \t]*(?:#|--|//|\*)?[ \t]*")
_SECTION = re.compile(rf'{SPEC}([\w-]+)\.md, "([^"]+)"')
_BARE_SECTION = re.compile(rf"{SPEC}[\w-]+\.md, (?!\")[A-Z0-9]\w*[^.;)]*")
_NOWHERE = re.compile(
    r"\b[Ii]ssue #?\d+|\bfirst design\b|\((?:billing|failures|contract|interfaces|architecture), [A-Z]"
)


@cache
def tracked() -> frozenset[str]:
    return frozenset(str(path.relative_to(ROOT)) for path in files())


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text("utf-8", errors="replace")


def documents() -> list[str]:
    return sorted(name for name in tracked() if name.endswith(".md"))


def texts() -> Iterator[tuple[str, str]]:
    """Each text file but this one, which has to name what it forbids."""
    this = str(Path(__file__).resolve().relative_to(ROOT))
    for name in sorted(tracked()):
        if Path(name).suffix not in DATA and name != this:
            yield name, text_of(name)


def slug(heading: str) -> str:
    """The anchor that a heading gets on the usual hosts of Git repositories."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


@cache
def headings(name: str) -> tuple[str, ...]:
    return tuple(_HEADING.findall(_FENCE.sub("", text_of(name))))


def line_of(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def found_from(name: str, target: str) -> str | None:
    """The tracked file that `target` means in the file `name`: beside that file, or from the root."""
    for base in (Path(name).parent, Path()):
        path = (ROOT / base / target).resolve()
        if path.is_relative_to(ROOT) and (path.is_dir() or str(path.relative_to(ROOT)) in tracked()):
            return str(path.relative_to(ROOT))
    return None


def cited_documents(text: str) -> Iterator[re.Match[str]]:
    """The documents that a text names; a name that is a whole string of a program is not a citation."""
    for cited in _DOCUMENT.finditer(text):
        before, behind = text[cited.start() - 1 : cited.start()], text[cited.end() : cited.end() + 1]
        if not (before in ("'", '"') and before == behind):
            yield cited


def broken_link(name: str, target: str) -> bool:
    if re.match(r"[a-z]+:", target):
        return False
    path, _, anchor = target.partition("#")
    beside = (ROOT / name).parent / path if path else ROOT / name
    if not beside.exists():
        return True
    if not anchor:
        return False
    document = str(beside.resolve().relative_to(ROOT))
    return not document.endswith(".md") or anchor not in map(slug, headings(document))


def test_every_link_of_a_document_leads_to_a_file_and_a_section() -> None:
    broken = []
    for name in documents():
        text = _FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), text_of(name))
        broken += [
            f"{name}:{line_of(text, link.start())}: {link[1]}"
            for link in _LINK.finditer(text)
            if broken_link(name, link[1])
        ]
    assert broken == []


def test_every_document_that_is_cited_is_there() -> None:
    missing = [
        f"{name}:{line_of(text, cited.start())}: {cited[1]}"
        for name, text in texts()
        for cited in cited_documents(text)
        if found_from(name, cited[1]) is None
    ]
    assert missing == []


def wrong_sections(text: str) -> Iterator[str]:
    joined = _NEXT_LINE.sub(" ", text)
    for cited in _SECTION.finditer(joined):
        document = f"{SPEC}{cited[1]}.md"
        if document not in tracked() or cited[2] not in headings(document):
            yield cited[0]
    for cited in _BARE_SECTION.finditer(joined):
        yield f"{cited[0]}: a section stands in quotes"


def test_every_section_that_is_cited_is_a_heading_of_the_specification() -> None:
    assert [f"{name}: {wrong}" for name, text in texts() for wrong in wrong_sections(text)] == []


def test_within_the_specification_a_section_is_named_by_its_heading() -> None:
    wrong = []
    for name in documents():
        if name.startswith(SPEC):
            for target, heading in re.findall(r'\[([\w-]+\.md), "([^"]+)"\]\(', _NEXT_LINE.sub(" ", text_of(name))):
                if heading not in headings(SPEC + target):
                    wrong.append(f"{name}: {target}, {heading}")
    assert wrong == []


def test_nothing_rests_on_what_is_not_in_the_repository() -> None:
    found = [
        f"{name}:{line_of(text, phrase.start())}: {phrase[0]}"
        for name, text in texts()
        for phrase in _NOWHERE.finditer(text)
    ]
    assert found == []


def test_what_is_not_there_is_noticed() -> None:
    assert not broken_link("README.md", f"{SPEC}billing.md#the-period")
    assert broken_link("README.md", f"{SPEC}billing.md#no-such-section")
    assert broken_link("README.md", "docs/no-such-document.md")
    assert found_from("actors/circuit_breaker.py", f"{SPEC}failures.md")
    assert found_from("actors/circuit_breaker.py", "failures.md") is None
    assert [cited[1] for cited in cited_documents('# (failures.md, "The breaker") and "docs/archiving.md"')] == [
        "failures.md"
    ]
    assert list(wrong_sections(f'{SPEC}failures.md,\n    # "Blame needs a witness"')) == []
    assert len(list(wrong_sections(f'{SPEC}failures.md, "Blame needs nothing"'))) == 1
    assert len(list(wrong_sections(f"{SPEC}failures.md, Blame needs a witness"))) == 1
    assert _NOWHERE.search("as issue 6 asks")
