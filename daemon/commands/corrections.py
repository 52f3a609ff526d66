"""`billingd invoices correct` and `waive`: the next revision of an invoice, or the end of one."""

from typing import Annotated

import typer

from daemon.invocation import configuration, put
from daemon.operator import Reason, why

InvoiceId = Annotated[str, typer.Argument(metavar="ID", help="Such as user-001.2026-10.1")]


def correct(context: typer.Context, invoice_id: InvoiceId, reason: Reason = None) -> None:
    """Make the next revision: the amounts of now minus what is registered; a held one is asked after first."""
    from daemon.orders import carry_out  # the way to the ERP is long, and `invoices list` needs none of it

    invoice = carry_out(configuration(context).settings, "correct", invoice_id, why(reason)).invoice
    assert invoice is not None, "an order to correct makes a revision or is refused"
    put(f"{invoice_id}: corrected by {invoice.id}, {invoice.total_with_tax_eur} EUR with tax")


def waive(context: typer.Context, invoice_id: InvoiceId, reason: Reason = None) -> None:
    """End a due, calculated or held invoice as aborted, if the ERP has nothing of it."""
    from daemon.orders import carry_out  # as above

    carry_out(configuration(context).settings, "waive", invoice_id, why(reason))
    put(f"{invoice_id}: waived")
