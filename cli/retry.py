"""`billingd invoices retry`: puts held invoices back into the state they were held from."""

from typing import Annotated

import typer

from cli.database import database
from cli.invocation import Reason, caller_identity, configuration, given_reason, month
from cli.output import put, say
from persistence import invoices
from persistence.connection import notify


def retry(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Of held invoices.")] = None,
    all_held: Annotated[bool, typer.Option("--all-held", help="All that are held.")] = False,
    code: Annotated[str | None, typer.Option(metavar="CODE", help="Those held with this code.")] = None,
    period: Annotated[
        str | None, typer.Option(parser=month, metavar="YYYY-MM", help="Those that are held of this month.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which would go on.")] = False,
    reason: Reason = None,
) -> int:
    """Put held invoices back where they stood, their counts reset."""
    if bool(ids) == (all_held or code is not None or period is not None):
        raise typer.BadParameter("give either ids, or --all-held, --code and --period", ctx=context, param_hint="ID")
    settings, given = configuration(context).settings, "" if dry_run else given_reason(reason)
    with database(settings, "invoices retry") as opened, opened.transaction() as connection:
        chosen = list(dict.fromkeys(ids)) if ids else invoices.held_ids(connection, code, period)
        if dry_run:
            refused = {each: invoices.why_no_retry(connection, each) for each in chosen}
        else:
            refused = {each: invoices.retry_held(connection, caller_identity(), each, given) for each in chosen}
            notify(connection, "retry")
    for invoice_id, problem in refused.items():
        if problem is None:
            put(f"{invoice_id}: {'would go on' if dry_run else 'goes on'}")
        else:
            say(f"{invoice_id}: {problem}")
    if not chosen:
        say("no invoice is held" + (" that is asked for" if code or period else ""))
    return 1 if any(refused.values()) else 0
