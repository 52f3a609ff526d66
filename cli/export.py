"""`billingd export`: a month's invoices as CSV for the accountant's programs, one row each."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from billing.invoice import LINES
from billing.rounding import format_plain
from cli.database import database
from cli.invocation import configuration, month
from cli.output import csv_line, print_line, print_note, write_text
from persistence.invoices.monthly_report import month_rows

_ORDINALS = [ordinal for ordinal, _ in LINES.values()]
COLUMNS = (
    "invoice", "period", "revision", "state", "bill_id", "invoice_date", "network_user", "name", "oib", "location",
    "sub_project_code", *(f"line_{ordinal.strip('.').replace('.', '_')}_eur" for ordinal in _ORDINALS),
    "total_eur", "tax_rate_percent", "tax_eur", "total_with_tax_eur",
)  # fmt: skip


def export(
    context: typer.Context,
    period: Annotated[str, typer.Option(parser=month, metavar="YYYY-MM", help="The month.")],
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Write it there, not to standard output.")
    ] = None,
) -> None:
    """Export a month's invoices as CSV: party, bill, the ten lines, totals and tax; amounts with a point."""
    lines = [csv_line(COLUMNS)]
    with database(configuration(context).settings, "export") as opened:
        for row in month_rows(opened, period):
            prices = {line["ordinal"]: line["price_eur"] for line in row.lines or ()}
            rate = None if row.tax_rate_percent is None else format_plain(row.tax_rate_percent)
            person = row.legal_person or {}
            lines.append(
                csv_line(
                    [
                        row.id, row.period, row.revision, row.state, row.bill_id, row.invoice_date,
                        row.network_user_id, person.get("name"), person.get("oib"), row.location_id,
                        row.sub_project_code, *(_amount(prices.get(ordinal)) for ordinal in _ORDINALS),
                        row.total_eur, rate, row.tax_eur, row.total_with_tax_eur,
                    ]
                )
            )  # fmt: skip
    if file is None:
        print_line("\n".join(lines))
    else:
        write_text(file, "\n".join(lines) + "\n")
    print_note(f"{len(lines) - 1} invoices of {period}")


def _amount(price: str | None) -> Decimal | None:
    """As a number: one that is negative, as in a correction, is no formula."""
    return None if price is None else Decimal(price)
