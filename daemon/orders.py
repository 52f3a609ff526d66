"""Carries out what an operator orders of one invoice that the ERP may have: corrects or waives it, or says why not."""

import threading
from dataclasses import dataclass

from sqlalchemy import Connection

from altibiz.client import AltibizClient
from billing.invoice import Invoice
from config.settings import Settings
from daemon.access import database
from daemon.erp import erp_client, why_not_free
from daemon.invocation import CommandFailed, say
from daemon.operator import who
from persistence import corrections
from persistence.corrections import Order, OrderRefused, TakenUp
from persistence.database import Database
from persistence.writes import Exchange, keep_exchanges

MARGIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an order: the revision that was made, None where there was only an end."""

    invoice: Invoice | None


def carry_out(settings: Settings, order: Order, invoice_id: str, reason: str) -> Done:
    """Takes the invoice up, asks the ERP where that is needed, and writes. Raises CommandFailed with the reason."""
    try:
        with database(settings, f"invoices {order}") as opened:
            return _carry_out(settings, opened, order, invoice_id, reason)
    except OrderRefused as error:
        raise CommandFailed(f"{invoice_id}: {error}") from error


def _carry_out(settings: Settings, opened: Database, order: Order, invoice_id: str, reason: str) -> Done:
    by, total_seconds = who(), settings.erp.total_timeout_seconds
    # A request leaves while enough of its claim's lease remains for it to end within: after that none is under way.
    offer_seconds = max(settings.work.lease_seconds, total_seconds + MARGIN_SECONDS)
    taken = opened.run(
        lambda connection: corrections.take_up(
            connection, order, invoice_id, by, offer_seconds=offer_seconds, lease_seconds=2 * total_seconds + 60
        )
    )
    try:
        exchange = _ask(settings, taken)

        def write(connection: Connection) -> Done:
            done = Done(None)
            if order == "waive":
                corrections.waive(connection, taken, by, reason)
            else:
                coverage = settings.billing.min_coverage_percent
                done = Done(corrections.correct(connection, taken, by, reason, settings.zone, coverage))
            keep_exchanges(connection, exchange)  # it locks the invoice, so it comes after the meters
            return done

        return opened.run(write)
    except (OrderRefused, CommandFailed, KeyboardInterrupt):
        opened.run(lambda connection: corrections.put_down(connection, taken))
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
