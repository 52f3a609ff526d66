"""`billingd status`: whether the daemon runs and how it stands, for people, programs and Nagios."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from config.load import Loaded
from daemon.inquiry import NotAnswering, ask_endpoint
from daemon.invocation import configuration, put, put_json, say
from daemon.tables import alarm_lines, cell, columns, fitted, instant

if TYPE_CHECKING:
    from daemon.last_known import LastKnown

app = typer.Typer(add_completion=False, rich_markup_mode=None)

SERIOUS = ("critical", "major")
NOT_RUNNING = 3
_NAGIOS = ("OK", "WARNING", "CRITICAL")


@dataclass(frozen=True)
class _Answer:
    """The document of interfaces.md, and whether the daemon was there and kept silent."""

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
) -> int:
    """Say whether the daemon runs and how it stands: 0 well, 1 degraded, 3 not running."""
    if as_json and nagios:
        raise typer.BadParameter("goes without --nagios", ctx=context, param_hint="'--json'")
    loaded = configuration(context)
    answer = _ask(loaded)
    if as_json:
        put_json(answer.document)
    elif nagios:
        put(_nagios_line(answer))
        return answer.nagios_status
    else:
        for line in fitted(_lines(answer.document)):
            put(line)
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
    seen, there = known.seen, known.database == "connected"
    # Somebody who holds the port and keeps silent is a daemon that hangs or is frozen, unless it has said good-bye.
    running = (seen is not None and seen.alive) or (error.silent and (seen is None or seen.ended_at is None))
    serious = [alarm for alarm in known.alarms if alarm["severity"] in SERIOUS]
    off = loaded.settings.ops.address is None
    well = running and off and not serious
    since = None
    if running:
        last = f", last seen at {cell(seen.seen_at)}" if seen else ""
        verdict = f"running, as far as can be seen{last}: {error}"
        since = seen.started_at if seen else None
    elif seen is not None:
        since = seen.ended_at or seen.seen_at
        how = {"clean": "ended in order", "gave_up": "it gave up"}.get(seen.ended_how or "", "ended without a word")
        verdict = f"not running since {cell(since)} ({how}): {error}"
    else:
        verdict = f"not running: {error}" + ("; it has never been seen in the database" if there else "")
    document = {
        "running": running,
        "well": well,
        "verdict": verdict,
        "instance": loaded.settings.instance,
        "since": since,
        "configuration": {"path": loaded.path, "sha256": loaded.sha256, "loaded_at": None},
        "database": {"state": known.database, "since": None},
        "erp": {"state": "unknown", "breaker": None, "last_success_at": None},
        "invoices": known.counts,
        "waiting": known.waiting,
        "alarms": known.alarms,
        "tree": None,
    }
    return _Answer(document, silent=running and not off)


def _nagios_line(answer: _Answer) -> str:
    document = answer.document
    counts = " ".join(f"{state}={number}" for state, number in sorted(document["invoices"].items()))
    line = f"BILLINGD {_NAGIOS[answer.nagios_status]} - {cell(document['verdict'])}"
    return line.replace("|", "/") + (f" | {counts}" if counts else "")


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield cell(document["verdict"])
    yield ""
    configured, database, erp = document["configuration"], document["database"], document["erp"]
    rows: list[tuple[str, str]] = [
        ("instance", document["instance"] + (f", version {document['version']}" if document.get("version") else "")),
        ("since", _at(document["since"])),
        ("configuration", f"{configured['path'] or 'built-in defaults'}" + _suffix(", read", configured["loaded_at"])),
        ("database", database["state"] + _suffix(", since", database["since"])),
        ("ERP", _erp(erp)),
        ("invoices", ", ".join(f"{state} {number}" for state, number in document["invoices"].items())),
    ]
    if document["waiting"]:
        rows.append(("waiting", f"{document['waiting']} of them for readings"))
    yield from columns(("", ""), rows)
    if document["alarms"]:
        yield ""
        yield from alarm_lines(document["alarms"])
    if document["tree"]:
        yield ""
        titles = ("part", "state", "restarts", "last end")
        yield from columns(titles, list(_tree(document["tree"])), right=("restarts",))


def _erp(erp: Mapping[str, Any]) -> str:
    breaker = f", breaker {erp['breaker']}" if erp["breaker"] else ""
    return f"{erp['state']}{breaker}" + _suffix(", last success", erp["last_success_at"])


def _tree(node: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[object, ...]]:
    yield "  " * depth + node["name"], node["state"], node["restarts"], node["last_reason"]
    for child in node["children"]:
        yield from _tree(child, depth + 1)


def _suffix(words: str, at: Any) -> str:
    return f"{words} {_at(at)}" if at else ""


def _at(at: Any) -> str:
    return cell(instant(at) if isinstance(at, str) else at)
