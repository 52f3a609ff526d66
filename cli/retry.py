"""`billingd invoices retry`: puts held invoices back into the state they were held from."""

from typing import Annotated

import typer
from sqlalchemy import Connection

from cli.database import database
from cli.invocation import OnlyMonth, Reason, caller_identity, configuration, resolve_reason
from cli.output import print_line, print_note
from persistence.connection.statements import notify
from persistence.invoices import held_invoices
from persistence.locks import lock_invoices


def retry(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Of held invoices.")] = None,
    all_held: Annotated[bool, typer.Option("--all-held", help="All that are held.")] = False,
    code: Annotated[str | None, typer.Option(metavar="CODE", help="Those held with this code.")] = None,
    period: OnlyMonth = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which would go on.")] = False,
    reason: Reason = None,
) -> int:
    """Put held invoices back where they stood, their counts reset."""
    if bool(ids) == (all_held or code is not None or period is not None):
        raise typer.BadParameter("give either ids, or --all-held, --code and --period", ctx=context, param_hint="ID")
    settings, given, by = configuration(context).settings, "" if dry_run else resolve_reason(reason), caller_identity()
    named = list(dict.fromkeys(ids or ()))

    def put_back(connection: Connection) -> dict[str, str | None]:
        if dry_run:
            chosen = named or held_invoices.held_ids(connection, code, period)
            return {each: held_invoices.why_no_retry(connection, each) for each in chosen}
        lock_invoices(connection, named)
        chosen = named or held_invoices.lock_held(connection, code, period)
        notify(connection, "retry")
        return {each: held_invoices.retry_held(connection, by, each, given) for each in chosen}

    with database(settings, "invoices retry") as opened:
        refused = opened.run(put_back)
    for invoice_id, problem in refused.items():
        if problem is None:
            print_line(f"{invoice_id}: {'would go on' if dry_run else 'goes on'}")
        else:
            print_note(f"{invoice_id}: {problem}")
    if not refused:
        print_note("no invoice is held" + (" that is asked for" if code or period else ""))
    return 1 if any(refused.values()) else 0
