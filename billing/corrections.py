"""What a correction says: the new amounts minus all that is registered already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from billing.invoice import Invoice
from billing.segments import Segment, stored_segments


@dataclass(frozen=True, slots=True)
class RegisteredRevision:
    """What a registered revision has booked: line prices by ordinal, and tax, in EUR; and which segments it bills."""

    id: str
    prices_eur: Mapping[str, Decimal]
    tax_eur: Decimal
    segments: tuple[Segment, ...]

    @classmethod
    def from_document(
        cls, invoice_id: str, lines: Sequence[Mapping[str, str]], tax_eur: Decimal, snapshot: Mapping[str, Any]
    ) -> "RegisteredRevision":
        """Reads the stored lines and snapshot of an invoice."""
        prices_eur = {line["ordinal"]: Decimal(line["price_eur"]) for line in lines}
        places = snapshot["measurement_locations"]
        return cls(
            invoice_id, prices_eur, tax_eur, tuple(s for each in places for s in stored_segments(each, snapshot))
        )


def correction(invoice: Invoice, registered: Sequence[RegisteredRevision]) -> Invoice | None:
    """The invoice, line by line and tax, minus the registered revisions (docs/spec/billing.md, "Corrections").

    With none registered it is the whole. None when all of it is zero, and no energy becomes free for another debt:
    there is nothing to correct.
    """
    lines = tuple(
        replace(line, price_eur=line.price_eur - sum(each.prices_eur.get(line.ordinal, 0) for each in registered))
        for line in invoice.lines
    )
    tax_eur = invoice.tax_eur - sum(each.tax_eur for each in registered)
    now = [each for calculation in invoice.calculations for each in calculation.segments]
    frees = bool(registered) and not all(_covered(each, now) for each in registered[-1].segments)
    if tax_eur == 0 and all(line.price_eur == 0 for line in lines) and not frees:
        return None
    snapshot = {**invoice.snapshot, "corrects": [each.id for each in registered]}
    return replace(invoice, lines=lines, tax_eur=tax_eur, snapshot=snapshot)


def _covered(segment: Segment, by: Sequence[Segment]) -> bool:
    """Whether these bill all the time of the segment's meter."""
    until = segment.start
    for each in sorted((each for each in by if each.meter_id == segment.meter_id), key=lambda each: each.start):
        until = max(until, each.end) if each.start <= until else until
    return until >= segment.end
