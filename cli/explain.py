"""`billingd invoices explain`: how an invoice came to each of its cents."""

from typing import Annotated

import typer

from cli.database import database
from cli.explanation import explain as steps
from cli.invocation import CommandFailed, configuration, put
from persistence.browsing import show_invoices
from persistence.connection import reader
from persistence.corrections import registered_revisions

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def explain(
    context: typer.Context,
    invoice_id: Annotated[str, typer.Argument(metavar="ID", help="Such as user-001.2026-10.1")],
) -> None:
    """Explain an invoice, from the readings to each cent.

    All of it out of what is stored with the invoice; each step is computed again and held against it.
    """
    with database(configuration(context).settings, "invoices explain") as opened, opened.transaction() as connection:
        found = show_invoices(reader(connection), [invoice_id])
        corrects = found[0]["snapshot"].get("corrects", []) if found else []
        registered = registered_revisions(connection, corrects)
    if not found:
        raise CommandFailed(f"{invoice_id}: there is no such invoice")
    (invoice,) = found
    if not invoice["lines"]:
        why = f": {invoice['held_reason']}" if invoice["held_reason"] else ""
        raise CommandFailed(f"{invoice_id}: it is {invoice['state']}, and nothing of it is calculated{why}")
    for line in steps(invoice, registered):
        put(line)
