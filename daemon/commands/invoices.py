"""`billingd invoices`: which there are, what they say, and putting held ones back."""

from typing import Annotated, Any

import typer

from billing.states import State
from daemon.access import database
from daemon.commands import corrections
from daemon.commands.issue import month
from daemon.drawing import draw_invoice
from daemon.invocation import configuration, put, put_json, say
from daemon.operator import Reason, who, why
from daemon.tables import columns, fitted, percent
from persistence import invoices
from persistence.database import notify

app = typer.Typer(add_completion=False, rich_markup_mode=None)

app.command()(corrections.correct)
app.command()(corrections.waive)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.callback()
def group() -> None:
    """Which invoices there are, what they say, and what can be done with those that are held."""


@app.command("list")
def list_them(
    context: typer.Context,
    period: Annotated[str | None, typer.Option(parser=month, metavar="YYYY-MM", help="Only of this month.")] = None,
    state: Annotated[State | None, typer.Option(help="Only in this state.")] = None,
    network_user: Annotated[str | None, typer.Option(metavar="ID", help="Only of this network user.")] = None,
    as_json: AsJson = False,
) -> None:
    """List invoices by period and network user, those that wait included."""
    wanted = invoices.Filter(period, state.value if state else None, network_user)
    with database(configuration(context).settings, "invoices list") as opened, opened.transaction() as connection:
        found = invoices.list_invoices(connection, wanted)
    if as_json:
        put_json([_as_json(each) for each in found])
        return
    rows = [
        (each["id"], each["state"], each["total_with_tax_eur"], each["bill_id"], each["next_attempt_at"], _note(each))
        for each in found
    ]
    titles = ("invoice", "state", "EUR with tax", "bill", "next try", "why")
    for line in fitted(columns(titles, rows, right=("EUR with tax",))) if rows else ():
        put(line)
    say(f"{len(found)} invoice{'' if len(found) == 1 else 's'}")


@app.command()
def show(
    context: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Such as user-001.2026-10.1")],
    as_json: AsJson = False,
) -> int:
    """Show whole invoices: lines, calculations, history and what the ERP answered."""
    wanted = list(dict.fromkeys(ids))
    with database(configuration(context).settings, "invoices show") as opened, opened.transaction() as connection:
        found = invoices.show_invoices(connection, wanted)
    if as_json:
        put_json([_as_json(each) for each in found])
    else:
        for place, each in enumerate(found):
            put("\n" * (place > 0) + "\n".join(draw_invoice(each)))
    unknown = set(wanted) - {each["id"] for each in found}
    for invoice_id in wanted:
        if invoice_id in unknown:
            say(f"{invoice_id}: there is no such invoice")
    return 1 if unknown else 0


@app.command()
def retry(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Of held invoices.")] = None,
    all_held: Annotated[bool, typer.Option("--all-held", help="All that are held.")] = False,
    reason: Reason = None,
) -> int:
    """Put held invoices back where they stood, their counts reset."""
    if bool(ids) == all_held:
        raise typer.BadParameter("give either ids or --all-held", ctx=context, param_hint="ID")
    settings, given, status = configuration(context).settings, why(reason), 0
    with database(settings, "invoices retry") as opened, opened.transaction() as connection:
        chosen = invoices.held_ids(connection) if all_held else list(dict.fromkeys(ids or []))
        refused = {each: invoices.retry_held(connection, who(), each, given) for each in chosen}
        notify(connection, "retry")
    for invoice_id, problem in refused.items():
        if problem is None:
            put(f"{invoice_id}: goes on")
        else:
            say(f"{invoice_id}: {problem}")
            status = 1
    if not chosen:
        say("no invoice is held")
    return status


def _note(invoice: dict[str, Any]) -> str | None:
    if invoice["held_code"]:
        return f"{invoice['held_code']}: {invoice['held_reason']}"
    return invoice["abort_reason"] and str(invoice["abort_reason"])


def _as_json(invoice: dict[str, Any]) -> dict[str, Any]:
    """As interfaces.md has it: the rate without the zeros of its column, no snapshot."""
    document = {name: value for name, value in invoice.items() if name != "snapshot"}
    if document["tax_rate_percent"] is not None:
        document["tax_rate_percent"] = percent(document["tax_rate_percent"])
    return document
