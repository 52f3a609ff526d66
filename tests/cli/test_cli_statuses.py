"""How an error that leaves a command ends the process: expected ones in one line, bugs as they are."""

import importlib
from types import FunctionType

import pytest
import typer

from cli import app as cli
from cli import invoices
from cli.invocation import CommandFailed
from persistence.connection.errors import CommitUnknown

# Called by a unit of systemd, not by people.
HIDDEN = ("last-words",)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Register a command `fail` that raises what a test puts into the list."""
    raised: list[BaseException] = []
    app = typer.Typer()

    @app.command()
    def fail() -> int:
        for error in raised:
            raise error
        return 3

    monkeypatch.setattr(cli, "app_of_the_test", app, raising=False)
    monkeypatch.setitem(cli.COMMANDS, "fail", ("cli.app:app_of_the_test", "Fails."))
    return raised


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (CommandFailed("no such\ninvoice", 2), 2, "no such invoice\n"),
        (
            CommitUnknown("the answer of 127.0.0.1:5432/billingd was lost"),
            1,
            "the answer of 127.0.0.1:5432/billingd was lost\n",
        ),
        (typer.Exit(3), 3, ""),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_expected_error_is_a_status_and_one_line(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str], error: BaseException, status: int, line: str
) -> None:
    failing.append(error)
    assert cli.run(["fail"]) == status
    assert capsys.readouterr() == ("", line)


def test_a_wrong_argument_is_a_wrong_use(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(typer.BadParameter("no month: 2026-13"))
    assert cli.run(["fail"]) == cli.USED_WRONGLY
    assert capsys.readouterr().err.endswith("no month: 2026-13\n")


def test_a_bug_passes_through(failing: list[BaseException]) -> None:
    failing.append(LookupError("unforeseen"))
    with pytest.raises(LookupError, match="unforeseen"):
        cli.run(["fail"])


def test_what_a_command_returns_is_the_status(failing: list[BaseException]) -> None:
    assert cli.run(["fail"]) == 3


def test_every_expected_error_exists() -> None:
    for module, name in cli.EXPECTED:
        assert issubclass(getattr(importlib.import_module(module), name), Exception)


def test_every_registered_command_exists_and_has_its_line() -> None:
    for name, (target, line) in {**cli.COMMANDS, **invoices.COMMANDS}.items():
        module, _, attribute = target.partition(":")
        assert isinstance(getattr(importlib.import_module(module), attribute), typer.Typer | FunctionType), name
        assert line.endswith(".") or name in HIDDEN, name
