"""`billingd alarms`: lists alarms, acknowledges one, tests their ways, and explains what a code means."""

import difflib
import textwrap
from collections.abc import Iterator
from typing import Annotated

import typer

from alarming.catalogue import CATALOGUE, Entry
from alarming.documents import paragraphs
from alarming.formats import to_json
from cli.database import database
from cli.invocation import AsJson, CommandFailed, Reason, caller_identity, configuration, resolve_reason
from cli.lazy_group import command_group
from cli.output import counted, print_alarms, print_json, print_line, print_lines, print_note, print_table
from persistence.alarms import find, statistics

app = command_group("The alarms: what stands, taking note of one, and what a code means.")


@app.command("list")
def list_them(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="The cleared ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the standing alarms, the most urgent first."""
    with database(configuration(context).settings, "alarms list") as opened, opened.reading() as reader:
        found = [to_json(each) for each in find(reader, cleared_too=everything)]
    if as_json:
        print_json(found)
        return
    print_alarms(found, cleared_too=everything)
    print_note(counted(len(found), "alarm"))
    if found:
        print_note("`billingd alarms explain CODE` says what one means and what to do")


@app.command()
def ack(
    context: typer.Context,
    alarm_id: Annotated[str, typer.Argument(metavar="ID", help="As `billingd alarms list` shows it.")],
    reason: Reason = None,
) -> None:
    """Take note of an alarm; who, when and why are kept, the first time counts."""
    from persistence.alarms import acknowledge  # writing takes SQLAlchemy, which `list` need not wait for

    settings, given = configuration(context).settings, resolve_reason(reason)
    with database(settings, "alarms ack") as opened:
        if not opened.run(lambda connection: acknowledge(connection, alarm_id, caller_identity(), given)):
            raise CommandFailed(f"there is no alarm {alarm_id}: `billingd alarms list --all` shows their ids")
    print_line(f"{alarm_id}: acknowledged")


@app.command("test")
def run_test(context: typer.Context, as_json: AsJson = False) -> int:
    """Send a marked alarm through every place that alarms go to; say where it arrived, and after how long."""
    from cli.alarm_test import test_chain  # the way to the Alertmanager is long, and `list` need not wait for it

    return test_chain(configuration(context).settings, as_json=as_json)


@app.command()
def stats(
    context: typer.Context,
    days: Annotated[float, typer.Option(min=0.001, help="Of how many days.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Say per code how often there was an alarm, how long it stood, and how often it came back."""
    with database(configuration(context).settings, "alarms stats") as opened, opened.reading() as reader:
        found = statistics(reader, days)
    if as_json:
        print_json([each._asdict() for each in found])
        return
    titles = ("code", "alarms", "standing", "came back", "stood for s", "longest s")
    rows = [
        (of.code, of.alarms, of.standing, of.reopened, round(of.standing_seconds), round(of.longest_seconds))
        for of in found
    ]
    print_table(titles, rows, right=titles[1:])
    print_note(f"{sum(each.alarms for each in found)} alarms in {days:g} days")


@app.command()
def explain(
    context: typer.Context,
    code: Annotated[str, typer.Argument(metavar="CODE", help="Such as erp_unreachable.")],
    croatian: Annotated[bool, typer.Option("--croatian", help="In Croatian.")] = False,
) -> None:
    """Say what an alarm's code means, what it does to billing, and what to do."""
    entry = CATALOGUE.get(code)
    if entry is None:
        rules = [rule for rule in configuration(context).settings.alarms.rules if rule.code == code]
        if not rules:
            close = difflib.get_close_matches(code, [str(known) for known in CATALOGUE], n=1)
            guess = f"did you mean {close[0]}?" if close else f"the codes are {', '.join(sorted(CATALOGUE))}"
            raise CommandFailed(f"there is no alarm code {code}: {guess}")
        for rule in rules:
            print_line(f"{code} ({rule.severity}) is a rule of your configuration, key alarms.rules:")
            print_line(f"it stands for log records of {rule.logger or 'any logger'} that match {rule.pattern}")
        return
    print_lines(_explanation(entry, croatian=croatian))


def _explanation(entry: Entry, *, croatian: bool) -> Iterator[str]:
    yield f"{entry.code} ({entry.severity.value}): {(entry.croatian if croatian else entry.english).title}"
    for title, paragraph in paragraphs(entry, croatian=croatian):
        yield from ("", title)
        yield textwrap.fill(
            paragraph, 100, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
