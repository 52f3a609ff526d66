"""`billingd invoices`: lists and shows invoices; its further commands are imported when they are called."""

from pathlib import Path
from typing import Annotated, Any

import typer

from billing.rounding import format_plain
from billing.states import State
from cli.database import database
from cli.invocation import AsJson, OnlyMonth, configuration
from cli.invoice_view import invoice_lines
from cli.lazy_group import command_group
from cli.output import counted, print_json, print_line, print_note, truncated_text, write_text
from persistence.invoices import listing

COMMANDS = {
    "explain": ("cli.explain:explain", "Explain an invoice, from the readings to each cent."),
    "retry": ("cli.retry:retry", "Put held invoices back where they stood, their counts reset."),
    "approve": ("cli.approve:approve", "Approve calculated invoices, after a look at them."),
    "correct": ("cli.corrections:correct", "Make the next revision: now minus what is registered."),
    "waive": ("cli.corrections:waive", "End an invoice that the ERP has nothing of."),
}
"""What is imported only when it is called, as in cli/app.py."""


app = command_group(
    "Which invoices there are, what they say, how they came about, and what a person may do with them.", COMMANDS
)


@app.command("list")
def list_them(
    context: typer.Context,
    period: OnlyMonth = None,
    state: Annotated[State | None, typer.Option(help="Only in this state.")] = None,
    network_user: Annotated[str | None, typer.Option(metavar="ID", help="Only of this network user.")] = None,
    code: Annotated[
        str | None, typer.Option(metavar="CODE", help="Held with this code, or waiting with it for readings.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List invoices by period and network user, those that wait included."""
    wanted = listing.Filter(period, state.value if state else None, network_user, code)
    with database(configuration(context).settings, "invoices list") as opened, opened.reading() as reader:
        listed = listing.list_invoices(reader, wanted) if as_json else []
        table = None if as_json else listing.table(reader, wanted)
    if table is None:
        print_json([_as_json(each) for each in listed])
        return
    if table.number:
        print_line(truncated_text(table.text))
    print_note(counted(table.number, "invoice"))
    for held_code, number in table.codes.items():
        print_note(f"{number} {held_code}: `billingd alarms explain {held_code}` says what to do")


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
        found = listing.show_invoices(reader, wanted)
    if body:
        for each in found:
            print_line(each["body"] or "")
    elif as_json:
        print_json([_as_json(each) for each in found])
    elif html is None:
        for place, each in enumerate(found):
            print_line("\n" * (place > 0) + "\n".join(invoice_lines(each)))
    if html is not None and found:
        from web.templating import render  # only a page needs it

        write_text(html, render("invoice_print.html", invoices=found))
    unknown = set(wanted) - {each["id"] for each in found}
    for invoice_id in wanted:
        if invoice_id in unknown:
            print_note(f"{invoice_id}: there is no such invoice")
    return 1 if unknown else 0


def _as_json(invoice: dict[str, Any]) -> dict[str, Any]:
    """As docs/spec/interfaces.md has it: the rate without the zeros of its column, no snapshot or body."""
    document = {name: value for name, value in invoice.items() if name not in ("snapshot", "body")}
    if "snapshot" in invoice:
        document["remarks"] = (invoice["snapshot"] or {}).get("remarks", [])
    if document["tax_rate_percent"] is not None:
        document["tax_rate_percent"] = format_plain(document["tax_rate_percent"])
    return document
