"""What a correction says: the new amounts minus all that is registered already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from billing.invoice import Invoice


@dataclass(frozen=True, slots=True)
class RegisteredRevision:
    """What a registered revision has booked: line prices by ordinal, and tax, in EUR."""

    id: str
    prices_eur: Mapping[str, Decimal]
    tax_eur: Decimal

    @classmethod
    def from_document(
        cls, invoice_id: str, lines: Sequence[Mapping[str, str]], tax_eur: Decimal
    ) -> "RegisteredRevision":
        """Reads the stored lines of an invoice."""
        return cls(invoice_id, {line["ordinal"]: Decimal(line["price_eur"]) for line in lines}, tax_eur)


def correction(invoice: Invoice, registered: Sequence[RegisteredRevision]) -> Invoice | None:
    """The invoice, line by line and tax, minus the registered revisions (docs/spec/billing.md, "Corrections").

    With none registered it is the whole. None when all of it is zero: there is nothing to correct.
    """
    lines = tuple(
        replace(line, price_eur=line.price_eur - sum(each.prices_eur.get(line.ordinal, 0) for each in registered))
        for line in invoice.lines
    )
    tax_eur = invoice.tax_eur - sum(each.tax_eur for each in registered)
    if tax_eur == 0 and all(line.price_eur == 0 for line in lines):
        return None
    snapshot = {**invoice.snapshot, "corrects": [each.id for each in registered]}
    return replace(invoice, lines=lines, tax_eur=tax_eur, snapshot=snapshot)
