"""`billingd pause` and `resume`: stop delivery to the ERP for a while, as for its maintenance."""

import re
from typing import Annotated

import typer

from cli.database import database
from cli.invocation import Reason, caller_identity, configuration, resolve_reason
from cli.output import print_line, print_note
from persistence.invoices import delivery_pause
from web.formatting import cell

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]{1,6})(s|m|h|d)")
LONGEST_SECONDS = 31 * 86400.0


def duration(text: str) -> float:
    """Seconds out of `90m`, `2h`, `1d` or `45s`. Raises typer.BadParameter."""
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds <= LONGEST_SECONDS:
        raise typer.BadParameter(f"{text!r} is no duration from 1s to 31d, such as 90m or 2h")
    return seconds


def pause(
    context: typer.Context,
    for_seconds: Annotated[
        float, typer.Option("--for", parser=duration, metavar="DURATION", help="Such as 90m, 2h or 1d.")
    ],
    reason: Reason = None,
) -> None:
    """Pause delivery to the ERP: calculating goes on, nothing new is offered or asked until then."""
    settings, given = configuration(context).settings, resolve_reason(reason)
    with database(settings, "pause") as opened:
        made = opened.run(lambda connection: delivery_pause.pause(connection, caller_identity(), given, for_seconds))
    print_line(f"delivery is paused until {cell(made.until)}: {made.reason}")
    lease = f"{settings.work.lease_seconds:g} s (work.lease_seconds)"
    print_note(
        f"what a daemon has in hand already may still leave within {lease}; `billingd resume` ends the pause before"
    )


def resume(context: typer.Context, reason: Reason = None) -> None:
    """Let delivery go on before the pause's own end; harmless without a pause."""
    settings, given = configuration(context).settings, resolve_reason(reason)
    with database(settings, "resume") as opened:
        was_paused = opened.run(lambda connection: delivery_pause.resume(connection, caller_identity(), given))
    print_line("delivery goes on" if was_paused else "delivery was not paused")
