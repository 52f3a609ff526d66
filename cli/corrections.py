"""`billingd invoices correct` and `waive`: what an operator orders of one invoice that the ERP may have."""

import threading
from dataclasses import dataclass
from typing import Annotated

import typer

from altibiz.client import AltibizClient
from billing.invoice import Invoice
from cli.database import database
from cli.erp import erp_client, why_not_free
from cli.invocation import CommandFailed, Reason, caller_identity, configuration, given_reason
from cli.output import put, say
from config.settings import Settings
from persistence import corrections
from persistence.corrections import Order, OrderRefused, TakenUp
from persistence.database import Database
from persistence.writes import Exchange, keep_exchanges

InvoiceId = Annotated[str, typer.Argument(metavar="ID", help="Such as user-001.2026-10.1")]


def correct(context: typer.Context, invoice_id: InvoiceId, reason: Reason = None) -> None:
    """Make the next revision: now minus what is registered.

    A held invoice is superseded, if the ERP, asked first, has nothing of it.
    """
    invoice = execute_order(configuration(context).settings, "correct", invoice_id, given_reason(reason)).invoice
    assert invoice is not None, "an order to correct makes a revision or is refused"
    put(f"{invoice_id}: corrected by {invoice.id}, {invoice.total_with_tax_eur} EUR with tax")


def waive(context: typer.Context, invoice_id: InvoiceId, reason: Reason = None) -> None:
    """End an invoice that the ERP has nothing of.

    It may be due, calculated or held, and becomes aborted; the ERP is asked first.
    """
    execute_order(configuration(context).settings, "waive", invoice_id, given_reason(reason))
    put(f"{invoice_id}: waived")


MARGIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an order: the revision that was made, None where there was only an end."""

    invoice: Invoice | None


def execute_order(settings: Settings, order: Order, invoice_id: str, reason: str) -> Done:
    """Takes the invoice up, asks the ERP where that is needed, and writes. Raises CommandFailed with the reason."""
    try:
        with database(settings, f"invoices {order}") as opened:
            return _carry_out(settings, opened, order, invoice_id, reason)
    except OrderRefused as error:
        raise CommandFailed(f"{invoice_id}: {error}") from error


def _carry_out(settings: Settings, opened: Database, order: Order, invoice_id: str, reason: str) -> Done:
    by, total_seconds = caller_identity(), settings.erp.total_timeout_seconds
    # A request leaves while enough of its claim's lease remains for it to end within: after that none is under way.
    offer_seconds = max(settings.work.lease_seconds, total_seconds + MARGIN_SECONDS)
    with opened.transaction() as connection:
        taken = corrections.take_up(
            connection, order, invoice_id, by, offer_seconds=offer_seconds, lease_seconds=2 * total_seconds + 60
        )
    try:
        exchange = _ask(settings, taken)
        with opened.transaction() as connection:
            keep_exchanges(connection, exchange)
            if order == "waive":
                corrections.waive(connection, taken, by, reason)
                return Done(None)
            coverage = settings.billing.min_coverage_percent
            return Done(corrections.correct(connection, taken, by, reason, settings.zone, coverage))
    except (OrderRefused, CommandFailed, KeyboardInterrupt):
        with opened.transaction() as connection:
            corrections.put_down(connection, taken)
        raise


def _ask(settings: Settings, taken: TakenUp) -> dict[str, Exchange]:
    """What the ERP answered, if it had to be asked. Raises OrderRefused unless it has nothing of the invoice."""
    if taken.wait_seconds is None:
        return {}
    with erp_client(settings, status=1) as client:
        if taken.wait_seconds > 0:
            say(f"waiting {taken.wait_seconds:.0f} s: until then an offer of {taken.invoice_id} may be under way")
            threading.Event().wait(taken.wait_seconds)
        return _question(client, taken)


def _question(client: AltibizClient, taken: TakenUp) -> dict[str, Exchange]:
    invoice_id = str(taken.invoice_id)
    outcome = client.ask(invoice_id, None)
    problem = why_not_free(outcome)
    if problem is not None:
        raise OrderRefused(problem)
    return {invoice_id: Exchange("GET", str(outcome.kind), outcome.status, outcome.detail)}
