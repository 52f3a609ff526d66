"""`billingd db`: the schema of the database."""

import re
from typing import Annotated

import typer

from cli.database import database
from cli.invocation import configuration
from cli.lazy_group import command_group
from cli.output import print_line, print_lines
from persistence.schema.migrate import expected_revision, upgrade
from persistence.schema.rights import grants

app = command_group("The schema of the database.")


@app.command("upgrade")
def upgrade_schema(context: typer.Context) -> None:
    """Create or migrate the schema; harmless when there is nothing to do."""
    with database(configuration(context).settings, "db upgrade", unlimited=True, any_schema=True) as opened:
        migrated = upgrade(opened)
        what = "now has" if migrated else "has"
        print_line(f"the database {opened.settings.where} {what} the schema {expected_revision()}")


def _role(name: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
        raise typer.BadParameter("give a name of small letters, digits and _")
    return name


@app.command("grants")
def print_grants(
    owner: Annotated[str, typer.Option(help="Owns the tables.", callback=_role)] = "billingd_owner",
    daemon: Annotated[str, typer.Option(help="The daemon's and the commands'.", callback=_role)] = "billingd",
    reader: Annotated[str, typer.Option(help="Only looks.", callback=_role)] = "billingd_reader",
) -> None:
    """Print the SQL that makes the roles and gives them their rights; a superuser runs it, again after each upgrade."""
    print_lines(grants(owner, daemon, reader).splitlines())
