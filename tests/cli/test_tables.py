"""Rows for people: aligned, one line each, and nothing in them that a terminal obeys."""

from datetime import datetime, timedelta, timezone
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from cli.output import columns
from web.formatting import cell, percent


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
    assert percent(Decimal("13.000000")) == "13"
    assert percent(Decimal("12.500000")) == "12.5"


@given(st.text())
def test_a_cell_is_one_printable_line_whatever_is_in_it(text: str) -> None:
    assert cell(text).isprintable()
    assert cell(text)
