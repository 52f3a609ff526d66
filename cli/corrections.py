"""`billingd invoices correct` and `waive`: the next revision of an invoice, or the end of one."""

from typing import Annotated

import typer

from cli.caller_identity import Reason, why
from cli.invocation import configuration, put
from cli.operator_orders import execute_order

InvoiceId = Annotated[str, typer.Argument(metavar="ID", help="Such as user-001.2026-10.1")]


correct_app = typer.Typer(add_completion=False, rich_markup_mode=None)
waive_app = typer.Typer(add_completion=False, rich_markup_mode=None)


@correct_app.command()
def correct(context: typer.Context, invoice_id: InvoiceId, reason: Reason = None) -> None:
    """Make the next revision: now minus what is registered.

    A held invoice is superseded, if the ERP, asked first, has nothing of it.
    """
    invoice = execute_order(configuration(context).settings, "correct", invoice_id, why(reason)).invoice
    assert invoice is not None, "an order to correct makes a revision or is refused"
    put(f"{invoice_id}: corrected by {invoice.id}, {invoice.total_with_tax_eur} EUR with tax")


@waive_app.command()
def waive(context: typer.Context, invoice_id: InvoiceId, reason: Reason = None) -> None:
    """End an invoice that the ERP has nothing of.

    It may be due, calculated or held, and becomes aborted; the ERP is asked first.
    """
    execute_order(configuration(context).settings, "waive", invoice_id, why(reason))
    put(f"{invoice_id}: waived")
