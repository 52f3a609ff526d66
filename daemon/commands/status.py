"""`billingd status`: whether the daemon runs and how it stands, for people, programs and Nagios."""

import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from config.load import Loaded
from daemon.inquiry import NotAnswering, ask_endpoint
from daemon.invocation import configuration, put, put_json, say
from daemon.screen import draw_status
from daemon.tables import cell, fitted
from daemon.verdict import SERIOUS

if TYPE_CHECKING:
    from daemon.last_known import LastKnown

app = typer.Typer(add_completion=False, rich_markup_mode=None)

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


@app.command()
def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
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
        put_json(answer.document)
    elif nagios:
        put(_nagios_line(answer))
        return answer.nagios_status
    else:
        for line in _screen(answer, whole_tree=tree):
            put(line)
    return answer.exit_status


def _screen(answer: _Answer, *, whole_tree: bool) -> list[str]:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return list(fitted(draw_status(answer.document, width, whole_tree=whole_tree)))


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
                    live.update(Text("\n".join(_screen(answer, whole_tree=whole_tree)), no_wrap=True), refresh=True)
                    never.wait(WATCH_SECONDS)
                    answer = ask()
        while True:
            put("\n".join([*_screen(answer, whole_tree=whole_tree), ""]))
            sys.stdout.flush()
            never.wait(WATCH_SECONDS)
            answer = ask()
    except KeyboardInterrupt:
        return answer.exit_status


def _ask(loaded: Loaded) -> _Answer:
    settings = loaded.settings
    try:
        document = ask_endpoint(settings)
    except NotAnswering as error:
        from daemon.last_known import last_known  # the way to the database is long, and mostly not needed

        return _without_answer(loaded, error, last_known(settings))
    if document["instance"] != settings.instance:
        say(f"note: {settings.ops.listen} is answered by {cell(document['instance'])}, not {settings.instance}")
    return _Answer(document)


def _without_answer(loaded: Loaded, error: NotAnswering, known: "LastKnown") -> _Answer:
    """What can be said when the daemon doesn't: it lives if the database heard of it, or if it is only silent."""
    from supervision.clock import SystemClock  # with it comes the whole kernel

    seen, there = known.seen, known.database == "connected"
    # Somebody who holds the port and keeps silent is a daemon that hangs or is frozen, unless it has said good-bye.
    running = (seen is not None and seen.alive) or (error.silent and (seen is None or seen.ended_at is None))
    serious = [alarm for alarm in known.alarms if alarm["severity"] in SERIOUS]
    off = loaded.settings.ops.address is None
    since = None
    look = "`journalctl -u billingd` says why, `systemctl start billingd` starts it"
    if running:
        last = f", last seen at {cell(seen.seen_at)}" if seen else ""
        said = f"running, as far as can be seen{last}: {error}"
        since = seen.started_at if seen else None
    elif seen is not None:
        since = seen.ended_at or seen.seen_at
        how = {"clean": "ended in order", "gave_up": "it gave up"}.get(seen.ended_how or "", "ended without a word")
        said = f"not running since {cell(since)} ({how}): {error}; {look}"
    else:
        never = "; it has never been seen in the database" if there else f"; nor does the database: {known.database}"
        said = f"not running: {error}{never}"
    document = {
        "running": running,
        "well": running and off and not serious,
        "verdict": said,
        "at": SystemClock().wall(),
        "instance": loaded.settings.instance,
        "since": since,
        "configuration": {"path": loaded.path, "sha256": loaded.sha256, "loaded_at": None},
        "database": {"state": known.database, "since": None},
        "erp": {"state": "unknown", "since": None, "breaker": None, "last_success_at": None},
        **known.overview.document(),
        "alarms": known.alarms,
        "tree": None,
    }
    return _Answer(document, silent=running and not off)


def _nagios_line(answer: _Answer) -> str:
    document = answer.document
    counts = " ".join(f"{state}={number}" for state, number in sorted(document["invoices"].items()))
    line = f"BILLINGD {_NAGIOS[answer.nagios_status]} - {cell(document['verdict'])}"
    return line.replace("|", "/") + (f" | {counts}" if counts else "")
