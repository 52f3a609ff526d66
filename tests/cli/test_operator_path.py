"""The bad night of docs/operations.md: each command it shows is run, and says what it shows."""

from pathlib import Path

import pytest

from tests.cli.operations import Operator, chapter, is_shown
from tests.cli.operator_deployment import OperatorDeployment


@pytest.mark.timeout(400)  # some twenty commands, each a process
def test_the_night_of_the_document_goes_as_it_says(tmp_path: Path, database_url: str) -> None:
    deployment = OperatorDeployment(tmp_path / "home", database_url)
    try:
        deployment.go_wrong()
        Operator(deployment).follow(chapter("## A bad night"), deployment.happenings)
    finally:
        deployment.close()


@pytest.mark.parametrize(
    ("shown", "output", "equal"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\nb\n", "a\nc\n", False),
        ("a\n[…]\nd\n", "a\nb\nc\nd\n", True),
        ("a\n[…]\nd\n", "a\nd\n", True),
        ("a\n[…]\nd\n", "b\nd\n", False),
        ("a\n[…]\n", "a\nb\n", True),
        ("", "a\n", False),
        ("at 2026-11-23 00:23:17Z (19 s)", "at 2027-01-01 10:00:00Z (2 h)", True),
        ("at 2026-11-23 00:23:17Z (19 s)", "at noon", False),
    ],
)
def test_the_comparison_can_fail(shown: str, output: str, equal: bool) -> None:
    assert is_shown(shown, output) is equal
