"""What the next revision of an invoice would say: the amounts of now minus all that is registered."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from billing.corrections import RegisteredRevision, correction
from billing.identity import InvoiceId
from billing.invoice import ENERGY_ALREADY_BILLED, Invoice, NotReady, calculate_correction
from billing.rounding import Rounding
from persistence.connection.statements import fetch, fetch_column
from persistence.invoices.calculation_inputs import fetch_inputs
from persistence.sql import Queries

_SQL = Queries(__file__)
NOTHING_TO_CORRECT = "there is nothing to correct: each line and the tax are what is registered already"


@dataclass(frozen=True, slots=True)
class NextRevision:
    """The revision after `id`, as calculated, or why there can't be one; `registered_eur` is booked, with tax."""

    id: InvoiceId
    registered_eur: Decimal
    invoice: Invoice | None
    why_not: str = ""


def registered_revisions(connection: Connection, ids: Sequence[str]) -> list[RegisteredRevision]:
    """What these invoices have booked."""
    rows = fetch(connection, _SQL.registered, ids=list(ids))
    return [RegisteredRevision.from_document(row.id, row.lines, row.tax_eur, row.snapshot) for row in rows]


def last_final_revisions(connection: Connection, period: str) -> list[InvoiceId]:
    """Of each debt of a period its last revision, where that is registered or aborted, and not taken back."""
    return [InvoiceId.parse(each) for each in fetch_column(connection, _SQL.last_final, period=period)]


def next_revisions(
    connection: Connection,
    ids: Sequence[InvoiceId],
    time_zone: ZoneInfo,
    min_coverage_percent: Decimal | int,
    rounding: Rounding,
    *,
    take_back: bool = False,
) -> list[NextRevision]:
    """The revisions that would follow these, in their order; with `take_back` they take back all that is registered.

    A debt of which something is registered stays with the party and the sub-project of that.
    """
    earlier = {each: [str(replace(each, revision=n)) for n in range(1, each.revision + 1)] for each in ids}
    wanted = [one for some in earlier.values() for one in some]
    booked = {row.id: row for row in fetch(connection, _SQL.registered, ids=wanted)}
    found = []
    for each, basis in zip(
        ids, fetch_inputs(connection, [str(one.next_revision()) for one in ids], time_zone), strict=True
    ):
        rows = [booked[one] for one in earlier[each] if one in booked]
        if rows:
            snapshot = rows[-1].snapshot
            parties = {name: snapshot[name] for name in basis.parties}
            basis = replace(basis, parties=parties, sub_project_code=snapshot["altibiz_sub_project_code"])
        registered = [RegisteredRevision.from_document(row.id, row.lines, row.tax_eur, row.snapshot) for row in rows]
        basis = replace(basis, asked_for=basis.asked_for and not take_back)
        calculated = calculate_correction(basis, min_coverage_percent, rounding)
        invoice, why_not = None, NOTHING_TO_CORRECT
        if isinstance(calculated, NotReady):
            why_not = f"it can't be calculated ({calculated.code}): {calculated.reason}"
            if calculated.code == ENERGY_ALREADY_BILLED:
                why_not += "; if it waits for this one too, correct one of them with --take-back first"
        else:
            invoice = correction(calculated, registered)
        total = sum((one.tax_eur + sum(one.prices_eur.values()) for one in registered), Decimal("0.00"))
        found.append(NextRevision(each, total, invoice, "" if invoice else why_not))
    return found
