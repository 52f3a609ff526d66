"""What is made from the catalogue, and the dashboard, for people and other programs.

`python -m alarming.documents FOLDER [NAME...]` writes these documents, or all of them, into a folder;
`python -m alarming.documents docs/alarms.md` makes the part of that page anew which lists the codes.
"""

import json
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import yaml

from alarming import dashboard, prometheus
from alarming.catalogue import CATALOGUE, ClearRule, ClearScope, Entry

_WIDTH = 100
_MAKE_ANEW = "Made from alarming/catalogue.yaml by `python -m alarming.documents`; don't edit."
_BEGIN = f"<!-- {_MAKE_ANEW} -->"
_END = "<!-- The end of what is made from the catalogue. -->"
_ENGLISH_TITLES = ("Meaning", "Effect", "What to do", "Cleared by")
_CROATIAN_TITLES = ("Što znači", "Posljedica", "Što učiniti", "Prestaje")


def markdown() -> str:
    """The part of docs/alarms.md between its two comments, with them."""
    table = [
        f"| [`{entry.code}`](#{entry.code}) | {entry.severity} | {f'{entry.key} ‡' if entry.by_period else 'instance'} "
        "| " + entry.english.meaning.removesuffix(".").replace("|", "\\|") + " |"
        for entry in CATALOGUE.values()
    ]
    head = [_BEGIN, "", "| code | severity | key | stands while |", "| --- | --- | --- | --- |"]
    sections = [line for entry in CATALOGUE.values() for line in _section(entry)]
    return "\n".join([*head, *table, "", *sections, _END])


def journal_catalogue(*, croatian: bool) -> str:
    """The message catalogue of which `journalctl -x` shows the entries; the file's name says its language."""
    entries = (_journal_entry(entry, croatian=croatian) for entry in CATALOGUE.values())
    return "\n".join([f"# {_MAKE_ANEW}\n", *entries])


DOCUMENTS: Final[Mapping[str, Callable[[], str]]] = {
    "prometheus-rules.yaml": lambda: (
        f"# {_MAKE_ANEW}\n" + yaml.safe_dump(prometheus.rules(), allow_unicode=True, sort_keys=False, width=_WIDTH)
    ),
    "grafana-dashboard.json": lambda: json.dumps(dashboard.dashboard(), indent=1) + "\n",
    "billingd.catalog": lambda: journal_catalogue(croatian=False),
    "billingd.hr.catalog": lambda: journal_catalogue(croatian=True),
}
"""Every document that is made from the catalogue as a whole, by the name of its file."""


def _section(entry: Entry) -> list[str]:
    text = entry.english
    return [
        f"## {entry.code}",
        "",
        f"**{text.title}.** {text.meaning} {text.effect} Meanwhile: {text.meanwhile}.",
        "",
        f"- What to do: {text.action}",
        f"- Cleared by: {text.cleared_by}",
        f"- {_behaviour(entry)}",
        f"- `journalctl MESSAGE_ID={entry.message_id.hex}`",
        "",
    ]


def _behaviour(entry: Entry) -> str:
    waits = "if it stays for most of `alarms.raise_within_seconds`"
    parts = [f"It is raised {'at once' if entry.immediately else waits}."]
    if entry.clear_scope is ClearScope.ALL:
        parts.append("One that was in trouble and succeeds speaks for all.")
    if entry.clear_rule is ClearRule.RESTART:
        parts.append("A restart ends it too.")
    if entry.mutes:
        parts.append(f"While it lasts it mutes {', '.join(f'`{code}`' for code in entry.mutes)}.")
    return " ".join(parts)


def paragraphs(entry: Entry, *, croatian: bool) -> list[tuple[str, str]]:
    """What an entry says, paragraph by paragraph: (title, text)."""
    text, titles = (entry.croatian, _CROATIAN_TITLES) if croatian else (entry.english, _ENGLISH_TITLES)
    return list(zip(titles, (text.meaning, text.effect, text.action, text.cleared_by), strict=True))


def _journal_entry(entry: Entry, *, croatian: bool) -> str:
    (_, meaning), *others = paragraphs(entry, croatian=croatian)
    wrapped = "\n\n".join(
        textwrap.fill(paragraph.replace("`", ""), 78, break_on_hyphens=False)
        for paragraph in (meaning, *(f"{title}: {text}" for title, text in others))
    )
    title = (entry.croatian if croatian else entry.english).title
    return (
        f"-- {entry.message_id.hex}\n"
        f"Subject: {title}: @BILLINGD_ALARM_STATE@ (@BILLINGD_ALARM_KEY@)\n"
        f"Defined-By: billingd\n\n{wrapped}\n"
    )


def update_page(page: str) -> str:
    """The page docs/alarms.md with its part about codes made anew. Raises ValueError for a page without that part."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError("the page has no part that is made from the catalogue")
    return before + markdown() + after


def main(target: str, *names: str) -> None:
    """Updates a page (a file that ends with .md), or writes the documents named, or all, into a folder."""
    path = Path(target)
    if path.suffix == ".md":
        path.write_text(update_page(path.read_text("utf-8")), "utf-8")
        return
    for name in names or DOCUMENTS:
        (path / name).write_text(DOCUMENTS[name](), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
