"""What a person says with a command: who and why, kept with all that is done to an invoice or an alarm; a month."""

import os
import pwd
import sys
from typing import Annotated

import typer

NONE_GIVEN = "none given"

Reason = Annotated[
    str | None,
    typer.Option("--reason", metavar="TEXT", help="Why; kept with what is done. Asked for on a terminal."),
]


def who() -> str:
    """`cli:` and the name of the user that the process runs as."""
    user_id = os.getuid()
    try:
        return f"cli:{pwd.getpwuid(user_id).pw_name}"
    except KeyError:  # as in a container that runs under a number without an account
        return f"cli:{user_id}"


def why(reason: str | None) -> str:
    """The reason given, else asked for on a terminal, else "none given" (docs/spec/interfaces.md, "Commands")."""
    if reason is None and sys.stdin.isatty() and sys.stderr.isatty():
        # Not typer's prompt: a blank of it goes to standard output, which is for data.
        sys.stderr.write(f"Reason [{NONE_GIVEN}]: ")
        sys.stderr.flush()
        reason = sys.stdin.readline()
    return " ".join((reason or "").split()) or NONE_GIVEN


def month(text: str) -> str:
    """A month of the command line. Raises typer.BadParameter."""
    from billing.periods import Period  # not needed where no month is given

    try:
        return str(Period.parse(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
