"""`billingd invoices`: which there are, what they say, and what a person may do with them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from billing.states import State
from daemon.access import database
from daemon.drawing import draw_invoice
from daemon.groups import LazyGroup
from daemon.invocation import configuration, put, put_json, say, write_text
from daemon.invoice_page import invoice_page
from daemon.operator import month
from daemon.tables import fitted_text, percent
from persistence import browsing

COMMANDS = {
    "explain": ("daemon.commands.explain:app", "Explain an invoice, from the readings to each cent."),
    "retry": ("daemon.commands.retry:app", "Put held invoices back where they stood, their counts reset."),
    "approve": ("daemon.commands.approval:app", "Approve calculated invoices, after a look at them."),
    "correct": ("daemon.commands.corrections:correct_app", "Make the next revision: now minus what is registered."),
    "waive": ("daemon.commands.corrections:waive_app", "End an invoice that the ERP has nothing of."),
}
"""What is imported only when it is called, as in daemon/cli.py."""


class _Commands(LazyGroup):
    modules = COMMANDS


app = typer.Typer(cls=_Commands, add_completion=False, rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.callback()
def group() -> None:
    """Which invoices there are, what they say, how they came about, and what a person may do with them."""


@app.command("list")
def list_them(
    context: typer.Context,
    period: Annotated[str | None, typer.Option(parser=month, metavar="YYYY-MM", help="Only of this month.")] = None,
    state: Annotated[State | None, typer.Option(help="Only in this state.")] = None,
    network_user: Annotated[str | None, typer.Option(metavar="ID", help="Only of this network user.")] = None,
    code: Annotated[
        str | None, typer.Option(metavar="CODE", help="Held with this code, or waiting with it for readings.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List invoices by period and network user, those that wait included."""
    wanted = browsing.Filter(period, state.value if state else None, network_user, code)
    with database(configuration(context).settings, "invoices list") as opened, opened.reading() as reader:
        listed = browsing.list_invoices(reader, wanted) if as_json else []
        table = None if as_json else browsing.table(reader, wanted)
    if table is None:
        put_json([_as_json(each) for each in listed])
        return
    if table.number:
        put(fitted_text(table.text))
    say(f"{table.number} invoice{'' if table.number == 1 else 's'}")
    for held_code, number in table.codes.items():
        say(f"{number} {held_code}: `billingd alarms explain {held_code}` says what to do")


@app.command()
def show(
    context: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Such as user-001.2026-10.1")],
    as_json: AsJson = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write them there as pages to be printed, or kept as PDF.")
    ] = None,
    body: Annotated[bool, typer.Option("--body", help="Print only what an offer sends to the ERP, as stored.")] = False,
) -> int:
    """Show whole invoices: lines, calculations, history and what the ERP answered."""
    if body and (as_json or html):
        raise typer.BadParameter("goes without --json and --html", ctx=context, param_hint="'--body'")
    wanted = list(dict.fromkeys(ids))
    with database(configuration(context).settings, "invoices show") as opened, opened.reading() as reader:
        found = browsing.show_invoices(reader, wanted)
    if body:
        for each in found:
            put(each["body"] or "")
    elif as_json:
        put_json([_as_json(each) for each in found])
    elif html is None:
        for place, each in enumerate(found):
            put("\n" * (place > 0) + "\n".join(draw_invoice(each)))
    if html is not None and found:
        write_text(html, invoice_page(found))
    unknown = set(wanted) - {each["id"] for each in found}
    for invoice_id in wanted:
        if invoice_id in unknown:
            say(f"{invoice_id}: there is no such invoice")
    return 1 if unknown else 0


def _as_json(invoice: dict[str, Any]) -> dict[str, Any]:
    """As docs/spec/interfaces.md has it: the rate without the zeros of its column, no snapshot or body."""
    document = {name: value for name, value in invoice.items() if name not in ("snapshot", "body")}
    if document["tax_rate_percent"] is not None:
        document["tax_rate_percent"] = percent(document["tax_rate_percent"])
    return document
