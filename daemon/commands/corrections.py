"""`billingd invoices correct` and `waive`: the next revision of an invoice, or the end of one."""

from typing import Annotated

import typer

from daemon.invocation import configuration, put
from daemon.operator import Reason, why

InvoiceId = Annotated[str, typer.Argument(metavar="ID", help="Such as user-001.2026-10.1")]


def correct(context: typer.Context, invoice_id: InvoiceId, reason: Reason = None) -> None:
    """Make the next revision: now minus what is registered.

    A held invoice is superseded, if the ERP, asked first, has nothing of it.
    """
    from daemon.orders import carry_out  # the way to the ERP is long, and `invoices list` needs none of it

    invoice = carry_out(configuration(context).settings, "correct", invoice_id, why(reason)).invoice
    assert invoice is not None, "an order to correct makes a revision or is refused"
    put(f"{invoice_id}: corrected by {invoice.id}, {invoice.total_with_tax_eur} EUR with tax")


def waive(context: typer.Context, invoice_id: InvoiceId, reason: Reason = None) -> None:
    """End an invoice that the ERP has nothing of.

    It may be due, calculated or held, and becomes aborted; the ERP is asked first.
    """
    from daemon.orders import carry_out  # as above

    carry_out(configuration(context).settings, "waive", invoice_id, why(reason))
    put(f"{invoice_id}: waived")
