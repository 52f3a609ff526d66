"""Durations as operators write them, and CSV that no spreadsheet takes for a formula."""

from decimal import Decimal

import pytest
import typer

from cli.output import csv_line
from cli.pause import duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45.0), ("90m", 5400.0), ("2h", 7200.0), ("1d", 86400.0), ("31d", 2678400.0)]
)
def test_a_duration_has_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "0m", "-1h", "1.5h", "32d", "2 h", "2H"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        duration(text)


def test_text_from_outside_is_no_formula_and_no_second_line() -> None:
    values = ["=1+1", "@x", "-5", Decimal("-5.00"), None, 'a"b', "two\nlines"]
    assert csv_line(values) == """'=1+1,'@x,'-5,-5.00,,"a""b",two lines"""
