"""`billingd invoices correct` and `waive`: asks the ERP first, then corrects or ends one invoice."""

import threading
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated

import typer
from sqlalchemy import Connection

from billing.erp_answers import Outcome, OutcomeKind
from billing.identity import InvoiceId
from billing.invoice import Invoice
from billing.rounding import Rounding
from billing.states import State
from cli.database import database
from cli.erp import erp_client
from cli.invocation import CommandFailed, InvoiceArgument, Reason, caller_identity, configuration, month, resolve_reason
from cli.output import columns, print_line, print_lines, print_note
from config.settings import Settings
from persistence.invoices import corrections
from persistence.invoices.corrections import Order, OrderRefused, TakenUp
from persistence.invoices.exchanges import Exchange, keep_exchanges
from persistence.invoices.next_revisions import (
    NOTHING_TO_CORRECT,
    NextRevision,
    last_final_revisions,
    next_revisions,
)
from web.formatting import cell

MARGIN_SECONDS = 5.0


def correct(
    context: typer.Context,
    invoice_id: Annotated[str | None, typer.Argument(metavar="ID", help="Such as user-001.2026-10.1")] = None,
    period: Annotated[
        str | None, typer.Option(parser=month, metavar="YYYY-MM", help="All of this month; with --dry-run only.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would come to, in EUR.")] = False,
    take_back: Annotated[bool, typer.Option("--take-back", help="Take back all that is registered.")] = False,
    reason: Reason = None,
) -> None:
    """Make the next revision: now minus what is registered.

    A held invoice is superseded, if the ERP, asked first, has nothing of it.
    """
    if (invoice_id is None) == (period is None):
        raise typer.BadParameter("give either an id or --period", ctx=context, param_hint="ID")
    settings = configuration(context).settings
    if dry_run:
        with database(settings, "invoices correct") as opened, opened.transaction() as connection:
            wanted = [_parsed(invoice_id)] if invoice_id else last_final_revisions(connection, period or "")
            rules = settings.billing.min_coverage_percent, Rounding(settings.billing.rounding)
            print_lines(_differences(next_revisions(connection, wanted, settings.zone, *rules, take_back=take_back)))
        return
    if invoice_id is None:
        raise typer.BadParameter("goes with --dry-run only", ctx=context, param_hint="'--period'")
    invoice = execute_order(settings, "correct", invoice_id, resolve_reason(reason), take_back=take_back)
    assert invoice is not None, "an order to correct makes a revision or is refused"
    print_line(f"{invoice_id}: corrected by {invoice.id}, {invoice.total_with_tax_eur} EUR with tax")


def _parsed(invoice_id: str) -> InvoiceId:
    try:
        return InvoiceId.parse(invoice_id)
    except ValueError as error:
        raise CommandFailed(str(error)) from error


def _differences(following: Sequence[NextRevision]) -> Iterator[str]:
    amounts = [each.invoice.total_with_tax_eur if each.invoice else Decimal("0.00") for each in following]
    rows = [
        (each.id, each.registered_eur, each.registered_eur + amount, amount, cell(each.why_not))
        for each, amount in zip(following, amounts, strict=True)
        if each.why_not != NOTHING_TO_CORRECT
    ]
    titles = ("invoice", "booked", "now", "difference", "why it can't be corrected")
    yield from columns(titles, rows, right=titles[1:4]) if rows else ()
    yield f"{len(rows)} of {len(following)} would change, by {sum(amounts, Decimal('0.00'))} EUR with tax"


def waive(context: typer.Context, invoice_id: InvoiceArgument, reason: Reason = None) -> None:
    """End an invoice that the ERP has nothing of.

    It may be due, calculated or held, and becomes aborted; the ERP is asked first.
    """
    execute_order(configuration(context).settings, "waive", invoice_id, resolve_reason(reason))
    print_line(f"{invoice_id}: waived")


def execute_order(
    settings: Settings, order: Order, invoice_id: str, reason: str, take_back: bool = False
) -> Invoice | None:
    """Takes the invoice up, asks the ERP where that is needed, and writes; returns the revision that was made, if any.

    Raises CommandFailed with the reason.
    """
    by, total_seconds = caller_identity(), settings.erp.total_timeout_seconds
    # A request leaves while enough of its claim's lease remains for it to end within: after that none is under way.
    seconds = {
        "offer_seconds": max(settings.work.lease_seconds, total_seconds + MARGIN_SECONDS),
        "lease_seconds": 2 * total_seconds + 60,
    }
    try:
        with database(settings, f"invoices {order}") as opened:
            taken = opened.run(lambda connection: corrections.take_up(connection, order, invoice_id, by, **seconds))
            try:
                exchange = _ask(settings, taken)
                given = order, taken, by, reason, exchange
                return opened.run(lambda connection: _write(settings, connection, *given, take_back=take_back))
            except (OrderRefused, CommandFailed, KeyboardInterrupt):
                opened.run(lambda connection: corrections.put_down(connection, taken))
                raise
    except OrderRefused as error:
        raise CommandFailed(f"{invoice_id}: {error}") from error


def _write(
    settings: Settings, connection: Connection, order: Order, taken: TakenUp, by: str, reason: str,
    exchange: dict[str, Exchange], take_back: bool = False,
) -> Invoice | None:  # fmt: skip
    made = None
    if order == "waive":
        corrections.waive(connection, taken, by, reason)
    else:
        rules = settings.billing.min_coverage_percent, Rounding(settings.billing.rounding)
        made = corrections.correct(connection, taken, by, reason, settings.zone, *rules, take_back=take_back)
    keep_exchanges(connection, exchange)  # it locks the invoice, so it comes after the meters
    return made


def _ask(settings: Settings, taken: TakenUp) -> dict[str, Exchange]:
    """What the ERP answered, if it had to be asked. Raises OrderRefused unless it has nothing of the invoice."""
    if taken.wait_seconds is None:
        return {}
    with erp_client(settings, status=1) as client:
        if taken.wait_seconds > 0:
            print_note(
                f"waiting {taken.wait_seconds:.0f} s: until then an offer of {taken.invoice_id} may be under way"
            )
            threading.Event().wait(taken.wait_seconds)
        invoice_id = str(taken.invoice_id)
        outcome = client.ask(invoice_id, None)
    if (problem := _why_not_free(outcome)) is not None:
        raise OrderRefused(problem)
    return {invoice_id: Exchange("GET", str(outcome.kind), outcome.status, outcome.detail)}


def _why_not_free(outcome: Outcome) -> str | None:
    """Why an invoice may not be ended by hand after this answer about it; None: the ERP has nothing of it."""
    if outcome.kind is OutcomeKind.ABSENT:
        return None
    booking = outcome.booking
    if outcome.kind is OutcomeKind.BOOKED and booking is not None:
        if booking.state == State.ABORTED:
            return None
        bill = f" as {cell(booking.bill_id)}" if booking.bill_id else ""
        return f"the ERP has it, {booking.state}{bill}: `billingd invoices retry` takes that over"
    return f"the ERP could not say whether it has it ({outcome.kind}: {outcome.detail})"
