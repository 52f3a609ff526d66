"""Compares every invoice with the ERP's bookings, both ways; changes nothing on either side."""

from collections.abc import Callable
from dataclasses import dataclass, field

from altibiz.client import AltibizClient
from altibiz.outcomes import Booking, Kind, Outcome
from billing.reconciliation import Compared, Difference, Side, compare
from cli.erp import CANNOT_ASK
from cli.invocation import CommandFailed
from persistence import reconciliation
from persistence.database import Database
from persistence.reconciliation import Pair
from web.formatting import cell

PAGE_BOOKINGS = 1000


@dataclass
class ReconciliationResult:
    """What came of it; `compared` counts the ids of both sides, `open` is not settled yet."""

    compared: int = 0
    open: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)


def reconcile(
    opened: Database, client: AltibizClient, period: str | None, progress: Callable[[int], None] | None = None
) -> ReconciliationResult:
    """Pages through the bookings, keeps them in the session's temporary tables, and compares.

    `progress` is told the bookings read so far. Raises CommandFailed with status 2 when the ERP can't be asked.
    """
    with opened.transaction() as connection:
        since = reconciliation.begin(connection)
    _read_bookings(opened, client, progress)
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


def _read_bookings(opened: Database, client: AltibizClient, progress: Callable[[int], None] | None) -> None:
    after, seen, number = None, set[str](), 0
    while True:
        page = client.page(after, PAGE_BOOKINGS)
        if isinstance(page, Outcome):
            raise CommandFailed(f"the ERP can't be asked for its bookings ({page.kind}: {page.detail})", CANNOT_ASK)
        with opened.transaction() as connection:
            reconciliation.keep(
                connection, [(each.id, each.state, each.bill_id, each.total_with_tax) for each in page.bookings]
            )
        number += len(page.bookings)
        if progress is not None:
            progress(number)
        if page.next is None:
            return
        if page.next in seen or not page.bookings:
            raise CommandFailed(f"the ERP's pages of bookings go in a circle after {cell(page.next)}", CANNOT_ASK)
        seen.add(page.next)
        after = page.next


def _look_again(opened: Database, client: AltibizClient, pair: Pair) -> Compared:
    """An invoice that went on while the pages were read: both sides as they stand now."""
    outcome = client.ask(pair.id, None)
    with opened.transaction() as connection:
        ours = reconciliation.read_ours(connection, pair.id)
    if len(pair.theirs) > 1 or outcome.kind not in (Kind.BOOKED, Kind.ABSENT):
        return compare(pair.id, ours, pair.theirs)
    return compare(pair.id, ours, () if outcome.booking is None else (_side(outcome.booking),))


def _side(booking: Booking) -> Side:
    return Side(booking.state, booking.bill_id, booking.total_with_tax)
