"""`billingd reconcile`: every invoice beside the ERP's bookings, both ways."""

from pathlib import Path
from typing import Annotated

import typer

from billing.reconciliation import Difference
from cli.caller_identity import month
from cli.database import database
from cli.erp import erp_client
from cli.invocation import configuration, put, put_json, say
from cli.output import columns, fitted
from cli.reconciliation import ReconciliationResult
from cli.reconciliation import reconcile as compare_all
from cli.report import write_report
from web.formatting import cell

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_ReportFile = typer.Option(metavar="FILE", help="Write the month's report there; goes with --period.")


@app.command()
def reconcile(
    context: typer.Context,
    period: Annotated[str | None, typer.Option(parser=month, metavar="YYYY-MM", help="Only of this month.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    csv: Annotated[Path | None, _ReportFile] = None,
    html: Annotated[Path | None, _ReportFile] = None,
) -> int:
    """Compare every invoice with the ERP's bookings; nothing is changed. 0 equal, 1 differences, 2 no answer."""
    if period is None and (csv or html):
        raise typer.BadParameter("goes with --period only", ctx=context, param_hint="'--csv' / '--html'")
    settings = configuration(context).settings
    with database(settings, "reconcile", unlimited=True) as opened, erp_client(settings) as client:
        result = compare_all(opened, client, period)
        for path in (csv, html):
            if path is not None and period is not None:
                digest = write_report(opened, path, period, result, as_html=path is html)
                say(f"{path}: written, SHA-256 {digest}")
    if as_json:
        put_json(_document(result))
    else:
        _tell(result)
    return 1 if result.differences else 0


def _document(result: ReconciliationResult) -> dict[str, object]:
    return {
        "equal": not result.differences,
        "compared": result.compared,
        "open": result.open,
        "differences": [
            {"id": each.id, "kind": each.kind.value, "ours": each.ours, "theirs": each.theirs}
            for each in result.differences
        ],
    }


def _tell(result: ReconciliationResult) -> None:
    if result.differences:
        titles = ("invoice", "difference", "here", "at the ERP")
        for line in fitted(columns(titles, [_row(each) for each in result.differences])):
            put(line)
    number = len(result.differences)
    found = "no difference" if not number else f"{number} difference{'s' if number > 1 else ''}"
    still = f", {len(result.open)} still open" if result.open else ""
    say(f"{result.compared} compared: {found}{still}")
    if result.differences:
        say(f"`billingd invoices show {cell(result.differences[0].id)}` is our side of the first; nothing is changed")


def _row(each: Difference) -> tuple[str, str, str | None, str | None]:
    return each.id, each.kind.value, each.ours, each.theirs
