"""`billingd reconcile`: compares every invoice with the ERP's bookings, both ways; changes nothing on either side."""

from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from altibiz.client import AltibizClient
from billing.erp_answers import Outcome, OutcomeKind
from billing.reconciliation import Compared, Difference, Side, compare
from cli.database import database
from cli.erp import CANNOT_ASK, erp_client
from cli.invocation import AsJson, CommandFailed, OnlyMonth, configuration
from cli.output import counted, print_json, print_note, print_table
from cli.report import write_report
from persistence.connection.database import Database
from persistence.invoices import reconciliation
from persistence.invoices.reconciliation import Pair
from web.formatting import cell


@dataclass
class ReconciliationResult:
    """What came of it; `compared` counts the ids of both sides, `open` is not settled yet."""

    compared: int = 0
    open: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)


def compare_bookings(opened: Database, client: AltibizClient, period: str | None) -> ReconciliationResult:
    """Pages through the bookings, keeps them in the session's temporary tables, and compares.

    Raises CommandFailed with status 2 when the ERP can't be asked.
    """
    with opened.transaction() as connection:
        since = reconciliation.begin(connection)
    _read_bookings(opened, client)
    with opened.transaction() as connection:
        result = ReconciliationResult(reconciliation.join(connection, period, since))
    moved: list[Pair] = []
    for pair in reconciliation.pairs(opened):
        compared = compare(pair.id, pair.ours, pair.theirs)
        if compared.differences and pair.moved:
            moved.append(pair)
        else:
            _add(result, pair.id, compared)
    for pair in moved:
        _add(result, pair.id, _look_again(opened, client, pair))
    return result


def _add(result: ReconciliationResult, invoice_id: str, compared: Compared) -> None:
    result.differences.extend(compared.differences)
    if compared.is_open:
        result.open.append(invoice_id)


def _read_bookings(opened: Database, client: AltibizClient) -> None:
    after, seen = None, set[str]()
    while True:
        page = client.page(after)
        if isinstance(page, Outcome):
            raise CommandFailed(f"the ERP can't be asked for its bookings ({page.kind}: {page.detail})", CANNOT_ASK)
        with opened.transaction() as connection:
            reconciliation.keep(
                connection, [(each.id, each.state, each.bill_id, each.total_with_tax) for each in page.bookings]
            )
        if page.next is None:
            return
        if page.next in seen:  # an empty page is none: what it would show may be hidden from us
            raise CommandFailed(f"the ERP's pages of bookings go in a circle after {cell(page.next)}", CANNOT_ASK)
        seen.add(page.next)
        after = page.next


def _look_again(opened: Database, client: AltibizClient, pair: Pair) -> Compared:
    """An invoice that went on while the pages were read: both sides as they stand now."""
    outcome = client.ask(pair.id, None)
    with opened.transaction() as connection:
        ours = reconciliation.read_ours(connection, pair.id)
    if len(pair.theirs) > 1 or outcome.kind not in (OutcomeKind.BOOKED, OutcomeKind.ABSENT):
        return compare(pair.id, ours, pair.theirs)
    booking = outcome.booking
    return compare(
        pair.id, ours, () if booking is None else (Side(booking.state, booking.bill_id, booking.total_with_tax),)
    )


_ReportFile = typer.Option(metavar="FILE", help="Write the month's report there; goes with --period.")


def reconcile(
    context: typer.Context,
    period: OnlyMonth = None,
    as_json: AsJson = False,
    csv: Annotated[Path | None, _ReportFile] = None,
    html: Annotated[Path | None, _ReportFile] = None,
) -> int:
    """Compare every invoice with the ERP's bookings; nothing is changed. 0 equal, 1 differences, 2 no answer."""
    if period is None and (csv or html):
        raise typer.BadParameter("goes with --period only", ctx=context, param_hint="'--csv' / '--html'")
    settings = configuration(context).settings
    with database(settings, "reconcile", unlimited=True) as opened, erp_client(settings) as client:
        result = compare_bookings(opened, client, period)
        head = f"Compared with the ERP: {result.compared}; {_found(result)}; {len(result.open)} still open."
        for path in (csv, html):
            if path is not None and period is not None:
                html_head = head if path is html else None
                digest = write_report(opened, path, period, result.differences, html_head=html_head)
                print_note(f"{path}: written, SHA-256 {digest}")
    if as_json:
        print_json({"equal": not result.differences, **asdict(result)})
    else:
        _print_result(result)
    return 1 if result.differences else 0


def _found(result: ReconciliationResult) -> str:
    return counted(len(result.differences), "difference") if result.differences else "no difference"


def _print_result(result: ReconciliationResult) -> None:
    print_table(("invoice", "difference", "here", "at the ERP"), [astuple(each) for each in result.differences])
    still = f", {len(result.open)} still open" if result.open else ""
    print_note(f"{result.compared} compared: {_found(result)}{still}")
    if result.differences:
        print_note(
            f"`billingd invoices show {cell(result.differences[0].id)}` is our side of the first; nothing is changed"
        )
