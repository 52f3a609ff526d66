"""`billingd doctor`: whether all that billing rests on is well, and what to do where it is not."""

from typing import Annotated

import typer

from cli.doctor_checks import Check, Health, examine
from cli.invocation import config_path, put, put_json
from config.load import ConfigurationRejected, load
from web.formatting import cell

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def doctor(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Look at configuration, state directory, database, ERP and daemon; changes nothing. 1 if anything is bad."""
    checks: list[Check] = []
    for check in _checks(context):
        checks.append(check)
        if not as_json:
            put(f"{check.health.value:<8} {check.name}: {cell(check.what)}")
            if check.advice:
                put(f"{'':<8} → {cell(check.advice)}")
    if as_json:
        put_json(
            [{"name": each.name, "health": each.health, "what": each.what, "advice": each.advice} for each in checks]
        )
    return 1 if any(check.health is Health.BAD for check in checks) else 0


def _checks(context: typer.Context) -> list[Check]:
    try:
        loaded = load(config_path(context))
    except ConfigurationRejected as error:
        where = error.path or "the configuration"
        advice = "mend it; `billingd check-config` checks it; nothing else can be looked at before"
        return [Check("configuration", Health.BAD, f"{where}: {problem}", advice) for problem in error.problems]
    return list(examine(loaded))
