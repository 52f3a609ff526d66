"""`billingd verify`: whether invoices, readings and history still are what they were when they were stored."""

from typing import Annotated, Any

import typer

from cli.caller_identity import month
from cli.database import database
from cli.invocation import configuration, put, put_json, say
from cli.output import columns, fitted
from cli.verification import VerificationResult
from cli.verification import verify as verify_all
from persistence.verification import Finding

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def verify(
    context: typer.Context,
    period: Annotated[str | None, typer.Option(parser=month, metavar="YYYY-MM", help="Only of this month.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Compute every invoice again from readings and snapshots, and check its history's chain. 1 if anything is off."""
    with database(configuration(context).settings, "verify", unlimited=True) as opened:
        result = verify_all(opened, period)
    if as_json:
        put_json(_document(result))
    else:
        _tell(result)
    return 1 if result.findings else 0


def _document(result: VerificationResult) -> dict[str, Any]:
    root = result.root
    return {
        "intact": not result.findings,
        "verified": result.verified,
        "findings": [_finding(each) for each in result.findings],
        "replaced": [_finding(each) for each in result.replaced],
        "not_verifiable": [_finding(each) for each in result.not_verifiable],
        "root": root and {"day": root.day, "position": root.position, "invoices": root.invoices, "sha256": root.root},
    }


def _finding(each: Finding) -> dict[str, str]:
    return {"id": each.invoice_id, "kind": each.kind, "what": each.what}


def _tell(result: VerificationResult) -> None:
    if result.findings:
        rows = [(each.invoice_id, each.kind, each.what) for each in result.findings]
        for line in fitted(columns(("invoice", "finding", "what"), rows)):
            put(line)
    for title, notes in (("replaced since", result.replaced), ("not verifiable", result.not_verifiable)):
        for each in notes:
            say(f"{title}: {each.invoice_id}: {each.what}")
    if result.root is not None:
        root = result.root
        say(f"root of {root.day} over {root.invoices} invoices: {root.root} (the log of that day has it too)")
    faults = f"{len(result.findings)} findings" if result.findings else "nothing was changed"
    say(f"{result.verified} invoices verified: {faults}")
