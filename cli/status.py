"""`billingd status`: whether the daemon runs and is well, for people, programs and Nagios."""

import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from cli.invocation import AsJson, configuration
from cli.ops_client import NoAnswer, fetch_status
from cli.output import print_json, print_line, print_lines, print_note, truncated
from cli.status_view import status_lines
from config.load import Loaded
from web.formatting import cell

WATCH_SECONDS = 2.0
NOT_RUNNING = 3
_NAGIOS = ("OK", "WARNING", "CRITICAL")


@dataclass(frozen=True)
class _Answer:
    """The document of docs/spec/interfaces.md, and whether the daemon was there and kept silent."""

    document: dict[str, Any]
    silent: bool = False

    @property
    def exit_status(self) -> int:
        if not self.document["running"]:
            return NOT_RUNNING
        return 0 if self.document["well"] else 1

    @property
    def nagios_status(self) -> int:
        critical = any(alarm["severity"] == "critical" for alarm in self.document["alarms"])
        return 2 if self.exit_status == NOT_RUNNING or self.silent or critical else self.exit_status


def status(
    context: typer.Context,
    as_json: AsJson = False,
    nagios: Annotated[bool, typer.Option("--nagios", help="One line, and 0, 1 or 2, as Nagios has it.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until ctrl-C.")] = False,
    tree: Annotated[bool, typer.Option("--tree", help="With every part of the daemon.")] = False,
) -> int:
    """Say whether the daemon runs and how it stands: 0 well, 1 degraded, 3 not running."""
    forms = {"--json": as_json, "--nagios": nagios, "--watch": watch}
    if [*forms.values()].count(True) > 1:
        given = [name for name, on in forms.items() if on]
        raise typer.BadParameter(f"goes without {given[1]}", ctx=context, param_hint=f"'{given[0]}'")
    loaded = configuration(context)
    if watch:
        return _watch(lambda: _ask(loaded), whole_tree=tree)
    answer = _ask(loaded)
    if as_json:
        print_json(answer.document)
    elif nagios:
        print_line(_nagios_line(answer))
        return answer.nagios_status
    else:
        print_lines(_render(answer, whole_tree=tree))
    return answer.exit_status


def _render(answer: _Answer, *, whole_tree: bool) -> list[str]:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return list(truncated(status_lines(answer.document, width, whole_tree=whole_tree)))


def _watch(ask: Callable[[], _Answer], *, whole_tree: bool) -> int:
    """One screen that is drawn anew; where there is no terminal, one screen after another. Ctrl-C ends it."""
    answer = ask()
    never = threading.Event()
    try:
        if sys.stdout.isatty():
            from rich.live import Live  # not quick to import
            from rich.text import Text

            with Live(screen=True, auto_refresh=False, vertical_overflow="crop") as live:
                while True:
                    live.update(Text("\n".join(_render(answer, whole_tree=whole_tree)), no_wrap=True), refresh=True)
                    never.wait(WATCH_SECONDS)
                    answer = ask()
        while True:
            print_line("\n".join([*_render(answer, whole_tree=whole_tree), ""]))
            sys.stdout.flush()
            never.wait(WATCH_SECONDS)
            answer = ask()
    except KeyboardInterrupt:
        return answer.exit_status


def _ask(loaded: Loaded) -> _Answer:
    settings = loaded.settings
    try:
        document = fetch_status(settings)
    except NoAnswer as error:
        from cli.status_cache import cached_status  # the way to the database is long, and mostly not needed

        return _Answer(*cached_status(loaded, error))
    if document["instance"] != settings.instance:
        print_note(f"note: {settings.ops.listen} is answered by {cell(document['instance'])}, not {settings.instance}")
    return _Answer(document)


def _nagios_line(answer: _Answer) -> str:
    document = answer.document
    counts = " ".join(f"{state}={number}" for state, number in sorted(document["invoices"].items()))
    line = f"BILLINGD {_NAGIOS[answer.nagios_status]} - {cell(document['verdict'])}"
    return line.replace("|", "/") + (f" | {counts}" if counts else "")
