"""`billingd invoices approve`: shows what waits for approval, and lets it go to the ERP."""

import sys
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from cli.database import database
from cli.invocation import CommandFailed, OnlyMonth, Reason, caller_identity, configuration, resolve_reason
from cli.output import columns, print_lines, print_note
from persistence.invoices import approval
from persistence.invoices.approval import Preview
from web.formatting import cell

_TITLES = {
    "largest": "The largest",
    "smallest": "The smallest",
    "furthest": f"Furthest from the user's last {approval.MONTHS} months",
}


def approve(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Of calculated invoices.")] = None,
    period: OnlyMonth = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only show what would be approved.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask; needed where there is no terminal.")] = False,
    reason: Reason = None,
) -> int:
    """Approve calculated invoices, after a look at them.

    Shown first are the remarks, the sums, the largest, the smallest and the most unusual; goes with billing.approval.
    """
    if bool(ids) == (period is not None):
        raise typer.BadParameter("give either ids or --period", ctx=context, param_hint="ID")
    if not (preview or yes or sys.stdin.isatty()):
        raise typer.BadParameter("is needed where nobody can be asked", ctx=context, param_hint="'--yes'")
    settings, wanted = configuration(context).settings, list(dict.fromkeys(ids)) if ids else None
    if settings.billing.approval == "none":
        print_note("note: billing.approval is none, so only what billing.hold_remarks holds waits for approval")
    with database(settings, "invoices approve") as opened:
        with opened.transaction() as connection:
            seen = approval.preview(connection, period, wanted)
        print_lines(_lines(seen))
        if preview or not seen.ids:
            return 0 if preview or wanted is None else _refuse(wanted, [])
        if not yes and not typer.confirm(f"Approve these {len(seen.ids)}?", err=True):
            raise CommandFailed("nothing is approved")
        given, by = resolve_reason(reason), caller_identity()
        # The ids that were shown, not the period again: invoices calculated since have not been seen.
        approved = opened.run(lambda connection: approval.approve(connection, by, given, seen.ids))
    print_note(f"{len(approved)} approved")
    return _refuse(wanted or seen.ids, approved)


def _refuse(wanted: Sequence[str], approved: Sequence[str]) -> int:
    missing = set(wanted) - set(approved)
    for invoice_id in (each for each in wanted if each in missing):
        print_note(f"{invoice_id}: there is no such invoice that waits for approval")
    return 1 if missing else 0


def _lines(seen: Preview) -> Iterator[str]:
    yield f"{len(seen.ids)} invoices wait for approval: {seen.total_eur} EUR + {seen.tax_eur} EUR tax"
    yield f"= {seen.total_with_tax_eur} EUR"
    if not seen.ids:
        return
    if seen.remarks:
        yield ""
        yield from columns(("invoice", "remark"), [(row.id, cell(row.remark)) for row in seen.remarks])
    yield ""
    yield from columns(("no.", "line", "EUR"), [tuple(row) for row in seen.lines], right=("EUR",))
    for name, rows in seen.extremes.items():
        if rows:
            yield ""
            yield _TITLES[name]
            shown = [(row.id, row.total_with_tax_eur, row.usual_eur and round(row.usual_eur, 2)) for row in rows]
            yield from columns(("invoice", "EUR with tax", "usually"), shown, right=("EUR with tax", "usually"))
