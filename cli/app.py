"""The command line `billingd`: the module of each command, and the exit status.

A command is a function in a module of cli/; a group of commands is a `command_group`. COMMANDS registers it
by one line, with the line that `billingd --help` shows for it. The module is imported only when its command
is called, so it may import at its top what it needs; app.py itself may not. A command returns its exit status
(None is 0), raises CommandFailed for what may well happen, writes data with `print_line` or `print_json`, and all else
with `print_note` or the log.
"""

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command

from cli.invocation import CommandFailed, installed_version
from cli.lazy_group import LazyGroup
from cli.output import discard_output, print_line, print_note, substitute_unencodable

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("cli.run:run", "Run the daemon in the foreground."),
    "check-config": ("cli.configuration:check_config", "Read the configuration and print every problem."),
    "reload": ("cli.reload:reload", "Have the running daemon read its configuration again."),
    "config": ("cli.configuration:app", "Show the configuration in force, or the default file."),
    "db": ("cli.db:app", "Create or migrate the schema of the database."),
    "import": ("cli.imports:app", "Import master data or readings from files."),
    "imports": ("cli.import_list:app", "List and show what was imported or refused."),
    "issue": ("cli.issue:issue", "Make invoices due now, without waiting for the schedule."),
    "invoices": ("cli.invoices:app", "List, show, explain, approve, retry, correct and waive invoices."),
    "alarms": ("cli.alarms:app", "List, acknowledge and explain alarms."),
    "status": ("cli.status:status", "Say whether the daemon runs, and how it stands."),
    "reconcile": ("cli.reconcile:reconcile", "Compare every invoice with the ERP's bookings, both ways."),
    "verify": ("cli.verify:verify", "Prove that invoices, readings and history are as they were stored."),
    "pause": ("cli.pause:pause", "Send nothing new to the ERP for a while."),
    "resume": ("cli.pause:resume", "End the pause of delivery before its time."),
    "export": ("cli.export:export", "Export a month's invoices as CSV for accounting."),
    "doctor": ("cli.doctor:doctor", "Look at all that billing rests on, and say what to mend."),
    "demo": ("cli.demo:demo", "Bill the sample data, with an ERP that goes down in the middle."),
    "drill": ("cli.drill:drill", "Make every failure happen for real, and see what holds."),
    "last-words": ("cli.last_words:last_words", ""),
    "fake-altibiz": ("cli.fake_altibiz:fake_altibiz", "Be the ERP, for trying out and testing."),
}
"""Name, then module:attribute, then its line in the help; without a line it isn't shown there."""

# Errors of other rooms that are expected of any command, by name: their modules stay unimported here.
EXPECTED = (
    ("config.load", "ConfigurationRejected"),
    ("config.secrets", "SecretUnreadable"),
    ("persistence.embedded.server", "LockTaken"),
    ("daemon.lifecycle", "StartRefused"),
    ("persistence.connection.errors", "PersistenceError"),
    ("web.server", "CannotListen"),
)
USED_WRONGLY = 64
INTERRUPTED = 130


class _Commands(LazyGroup):
    modules = COMMANDS


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    suggest_commands=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        installed = installed_version()
        print_line(f"billingd {installed}" if installed else "billingd, from a checkout that is not installed")
        raise typer.Exit


@app.callback()
def billingd(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="The configuration; else $BILLINGD_CONFIG, else /etc/billingd/billingd.yaml, else defaults.",
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback has done the work
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Bills the users of closed electricity distribution systems, whatever fails on the way."""
    context.obj = config


def _expected() -> tuple[type[Exception], ...]:
    """Return the errors of EXPECTED: one whose module nobody imported can't have been raised."""
    return tuple(getattr(sys.modules[module], name) for module, name in EXPECTED if module in sys.modules)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; an unexpected exception passes through."""
    try:
        result = get_command(app).main(args=arguments, prog_name="billingd", standalone_mode=False)
    except CommandFailed as error:
        print_note(" ".join(str(error).split()))
        return error.status
    except typer.TyperException as error:
        used: typer.Context | None = getattr(error, "ctx", None)
        if used:
            print_note(f"{used.get_usage()}\nTry '{used.command_path} --help'.")
        print_note(error.format_message())
        return USED_WRONGLY
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except _expected() as error:
        print_note(" ".join(str(error).split()))
        return 1
    return result if isinstance(result, int) else 0


def main() -> None:
    """End the process with the status of the command that the arguments name."""
    gc.set_threshold(20_000, 20, 100)  # few cycles come and go: the usual looks at them cost a tenth of the time
    _open_missing_streams()
    substitute_unencodable()
    status = run()
    try:
        sys.stdout.flush()
    except OSError as error:
        discard_output()
        if not isinstance(error, BrokenPipeError):  # a reader who has had enough (`| head`) needs no message
            print_note(f"cannot write the output: {error.strerror}")
        status = status or 1
    sys.exit(status)


def _open_missing_streams() -> None:
    """Put /dev/null where a standard stream is closed: a socket opened there would be written the log."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(descriptor, "r" if name == "stdin" else "w"))


if __name__ == "__main__":
    main()
