"""The catalogue of alarms: complete, in use, of help to whoever reads it, and the source of its documents."""

import re
from pathlib import Path

import pytest

from alarming.catalogue import CATALOGUE, Code, Entry
from alarming.documents import journal_catalogue, main, markdown, update_page
from persistence.alarms import Severity
from tests.support.sample import ROOT

ROOMS = ("actors", "alarming", "daemon", "persistence", "altibiz", "billing")
# What scripts and runbooks rely on: these names, severities, and whose key may be a period, never change.
CONTRACT = {
    "database_unreachable": "critical",
    "database_error": "major",
    "erp_unreachable": "major",
    "erp_error": "major",
    "erp_credentials": "critical",
    "erp_incorrect_data": "major ‡",
    "erp_refused_invoice": "major ‡",
    "erp_conflict": "major ‡",
    "invoice_aborted": "major ‡",
    "invoice_overdue": "warning ‡",
    "readings_incomplete": "minor ‡",
    "readings_inconsistent": "minor ‡",
    "energy_already_billed": "major ‡",
    "inputs_unreadable": "major ‡",
    "erp_trust_unusable": "critical",
    "poison_invoice": "major ‡",
    "actor_crashed": "major",
    "actor_hung": "major",
    "daemon_was_down": "warning",
    "clocks_disagree": "critical",
    "configuration_rejected": "minor",
    "unexpected_error": "major",
}
COMMANDS = {
    "alarms ack", "alarms explain", "alarms list", "alarms test", "check-config", "config show", "db upgrade", "doctor",
    "import master", "imports list", "imports show",
    "import readings", "invoices correct", "invoices explain", "invoices list", "invoices retry", "invoices show",
    "invoices waive",
    "pause", "reconcile", "resume", "status",
}  # fmt: skip

entries = pytest.mark.parametrize("entry", CATALOGUE.values(), ids=list(CATALOGUE))


def test_every_code_has_an_entry_and_every_entry_a_code() -> None:
    assert set(CATALOGUE) == {code.value for code in Code}


def test_the_names_and_severities_that_others_hold_on_to_stay() -> None:
    held = {code: f"{CATALOGUE[code].severity}{' ‡' if CATALOGUE[code].by_period else ''}" for code in CONTRACT}
    assert held == CONTRACT


def test_the_specification_names_every_code_with_its_severity() -> None:
    rows = re.findall(r"^\| (`.*?) \| (\w+) \|", (ROOT / "docs/spec/interfaces.md").read_text("utf-8"), flags=re.M)
    named = {
        code: f"{severity}{' ‡' if '‡' in marks else ''}"
        for cell, severity in rows
        for code, marks in re.findall(r"`(\w+)`([ †‡§]*)", cell)
        if severity in {each.value for each in Severity}
    }
    assert named == {code: f"{entry.severity}{' ‡' if entry.by_period else ''}" for code, entry in CATALOGUE.items()}


def uses_of_codes() -> set[str]:
    """The codes that the source names outside the catalogue."""
    found: set[str] = set()
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            if path.suffix in (".py", ".sql") and path.name != "catalogue.py":
                source = path.read_text("utf-8")
                found |= {Code[name].value for name in re.findall(r"\bCode\.([A-Z_]+)\b", source)}
                found |= {text for text in re.findall(r"[\"']([a-z_]+)[\"']", source) if text in CATALOGUE}
    return found


def test_no_entry_is_one_that_nobody_raises() -> None:
    held_codes = {code for code, entry in CATALOGUE.items() if entry.held_code}  # the rows name these, not the source
    assert set(CATALOGUE) - uses_of_codes() - held_codes == set()


@entries
@pytest.mark.parametrize("language", ["english", "croatian"])
def test_an_entry_tells_what_to_do(entry: Entry, language: str) -> None:
    text = entry.english if language == "english" else entry.croatian
    for name in ("title", "meaning", "effect", "meanwhile", "action", "cleared_by"):
        assert len(getattr(text, name)) >= 10, name
    quoted = re.findall(r"`([^`]+)`", text.action)
    assert quoted, "it names no command and no key"
    for command in (words.split(" ", 1)[1] for words in quoted if words.startswith("billingd ")):
        assert any(command == known or command.startswith(known + " ") for known in COMMANDS), command


@entries
def test_both_languages_name_the_same_commands(entry: Entry) -> None:
    def named(text: str) -> list[str]:
        return sorted(re.findall(r"`([^`]+)`", text))

    assert named(entry.english.action) == named(entry.croatian.action)


def test_message_ids_are_unique_and_never_those_of_zero() -> None:
    ids = {entry.message_id for entry in CATALOGUE.values()}
    assert len(ids) == len(CATALOGUE)
    assert all(message_id.version == 4 for message_id in ids)


def test_no_alarm_mutes_itself_even_by_detours() -> None:
    for code in CATALOGUE:
        reached, todo = set[str](), [code]
        while todo:
            for muted in CATALOGUE[todo.pop()].mutes:
                if muted.value not in reached:
                    reached.add(muted.value)
                    todo.append(muted.value)
        assert code not in reached


def test_the_page_in_the_repository_is_that_of_the_catalogue() -> None:
    page = (ROOT / "docs/alarms.md").read_text("utf-8")
    assert page == update_page(page), "run `python -m alarming.documents docs/alarms.md`"
    with pytest.raises(ValueError, match="no part"):
        update_page("# Alarms")


def test_each_document_is_written_where_it_is_wanted(tmp_path: Path) -> None:
    main(str(tmp_path))
    names = {"prometheus-rules.yaml", "grafana-dashboard.json", "billingd.catalog", "billingd.hr.catalog"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert (tmp_path / "billingd.hr.catalog").read_text("utf-8") == journal_catalogue(croatian=True)
    (tmp_path / "billingd.hr.catalog").unlink()
    main(str(tmp_path), "billingd.catalog")
    assert not (tmp_path / "billingd.hr.catalog").exists()
    page = tmp_path / "page.md"
    page.write_text("before\n" + markdown().replace("critical", "harmless") + "\nafter\n")
    main(str(page))
    assert page.read_text("utf-8") == f"before\n{markdown()}\nafter\n"


@entries
def test_the_page_says_everything_of_a_code_once(entry: Entry) -> None:
    section = markdown().split(f"\n## {entry.code}\n")[1].split("\n## ")[0]
    assert entry.message_id.hex in section
    assert section.count(entry.english.action) == 1
    assert section.count(entry.english.meaning) == 1


def test_the_journal_catalogue_is_in_the_journals_form() -> None:
    for croatian in (False, True):
        text = journal_catalogue(croatian=croatian)
        heads = re.findall(r"^-- ([0-9a-f]{32})\nSubject: .+\nDefined-By: billingd\n\n\S", text, re.MULTILINE)
        assert heads == [entry.message_id.hex for entry in CATALOGUE.values()]
