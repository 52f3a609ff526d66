"""What every command shares: its configuration, its failure, the caller and the reason, and common options."""

import os
import pwd
import sys
from pathlib import Path
from typing import Annotated

import typer

from config.load import ConfigurationRejected, Loaded, load
from web.formatting import NO_REASON


class CommandFailed(Exception):  # noqa: N818 - it says what happened
    """An expected failure: `main` prints the message as one line on standard error and ends with `status`."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def config_path(context: typer.Context) -> Path | None:
    """Return the file that --config names, None without it."""
    return context.find_object(Path)


def configuration(context: typer.Context) -> Loaded:
    """Return the configuration this command works with. Raises CommandFailed when it is rejected."""
    try:
        return load(config_path(context))
    except ConfigurationRejected as error:
        first, *others = error.problems
        more = f" (and {len(others)} more: billingd check-config lists them)" if others else ""
        where = f"{error.path}: " if error.path else ""
        raise CommandFailed(f"the configuration can't be used: {where}{first}{more}") from error


def installed_version(package: str = "billingd") -> str | None:
    """The version of an installed package; None for one that is not, such as billingd from a checkout."""
    from importlib.metadata import PackageNotFoundError, version  # rarely asked for, and not quick

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def month(text: str) -> str:
    """A month of the command line. Raises typer.BadParameter."""
    from billing.periods import Period  # not needed where no month is given

    try:
        return str(Period.parse(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
OnlyMonth = Annotated[str | None, typer.Option(parser=month, metavar="YYYY-MM", help="Only of this month.")]
InvoiceArgument = Annotated[str, typer.Argument(metavar="ID", help="Such as user-001.2026-10.1")]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept with what is done. Asked for on a terminal.")
]


_LOGIN_ID = Path("/proc/self/loginuid")
_NOBODY_LOGGED_IN = 2**32 - 1


def caller_identity() -> str:
    """`cli:` and the user that the process runs as; behind it the person who logged in as somebody else, if known."""
    user_id = os.getuid()
    try:
        login_id = int(_LOGIN_ID.read_text())
    except (OSError, ValueError):
        login_id = _NOBODY_LOGGED_IN
    # The kernel keeps who logged in; what sudo says can be made up, but root can do that with anything.
    person = _user_name(login_id) if login_id not in (user_id, _NOBODY_LOGGED_IN) else None
    if person is None and user_id == 0:
        person = "".join(each for each in os.environ.get("SUDO_USER", "")[:60] if each.isprintable())
    user = _user_name(user_id)
    return f"cli:{user} ({person})" if person and person != user else f"cli:{user}"


def _user_name(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:  # as in a container that runs under a number without an account
        return str(user_id)


def resolve_reason(reason: str | None) -> str:
    """The reason given, else asked for on a terminal, else "none given" (docs/spec/interfaces.md, "Commands")."""
    if reason is None and sys.stdin.isatty() and sys.stderr.isatty():
        # Not typer's prompt: a blank of it goes to standard output, which is for data.
        sys.stderr.write(f"Reason [{NO_REASON}]: ")
        sys.stderr.flush()
        reason = sys.stdin.readline()
    return " ".join((reason or "").split()) or NO_REASON
