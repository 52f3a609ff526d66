"""Rows for people: aligned, one line each, and nothing in them that a terminal obeys."""

import csv
import io
import json
import re
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.foreign_text import spelt_out, spelt_out_json, steers
from billing.rounding import format_plain
from cli.output import columns, csv_line, print_json, print_line, print_note, substitute_unencodable
from web.formatting import cell


def test_columns_are_aligned_and_end_without_blanks() -> None:
    assert list(columns(("id", "EUR"), [("a", Decimal("1.50")), ("bcd", None)], right=("EUR",))) == [
        "id    EUR",
        "a    1.50",
        "bcd     -",
    ]


def test_without_names_there_is_no_header() -> None:
    assert list(columns(("", ""), [("one", "two")], indent="  ")) == ["  one  two"]


def test_instants_are_in_utc_and_percentages_plain() -> None:
    zone = timezone(timedelta(hours=2))
    assert cell(datetime(2026, 8, 1, 1, 30, tzinfo=zone)) == "2026-07-31 23:30:00Z"
    assert format_plain(Decimal("13.000000")) == "13"
    assert format_plain(Decimal("12.500000")) == "12.5"


@given(st.text())
def test_a_cell_is_one_printable_line_whatever_is_in_it(text: str) -> None:
    assert cell(text).isprintable()
    assert cell(text)


STEERING = "\x1b[2J \x9b2J \x7f \r \u202e \u2066 \u200f \u061c \u2028 \ud800 \x00"


def test_no_line_has_what_steers_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for write in (print_line, print_note, print_json):
        write(STEERING)
        done = capsys.readouterr()
        shown = done.out + done.err
        assert not steers(shown)
        assert "2J" in shown
    print_json([STEERING])
    assert json.loads(capsys.readouterr().out) == [STEERING.replace("\ud800", "?")]


@given(st.text(st.characters(codec="utf-8")))
def test_what_is_spelt_out_steers_nothing_and_json_stays_the_same(text: str) -> None:
    assert not steers(spelt_out(text))
    assert json.loads(spelt_out_json(json.dumps(text, ensure_ascii=False))) == text
    if not steers(text):
        assert spelt_out(text) == text


@given(st.lists(st.text(st.sampled_from(";,\t\"' =+-@＝a\n") | st.characters(codec="utf-8"), max_size=8), min_size=1))
def test_no_cell_of_a_csv_is_a_formula_whatever_the_spreadsheet_takes_for_the_separator(values: list[str]) -> None:
    line = csv_line(values)
    for separator in ",;\t":
        (cells,) = csv.reader(io.StringIO(line), delimiter=separator)
        # Within quotes the comma is no separator, and whoever splits there reads no CSV.
        assert not [each for each in cells if re.match(r"\s*[=+@＝-]", each)], (separator, cells)


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-2", "cp1252", "utf-8"])
def test_output_in_any_encoding_has_substitutes(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
    substitute_unencodable()
    print_line("Horvatić → 5\u202f€ …")
    print_json({"name": "Horvatić 😀"})
    sys.stdout.flush()
    line, *document = raw.getvalue().decode(encoding).splitlines()
    assert "Horvati" in line
    assert encoding != "ascii" or line == "Horvatic ? 5 ? ..."
    assert json.loads("".join(document)) == {"name": "Horvatić 😀"}
