"""`billingd db`: the schema of the database."""

import typer

from cli.database import database
from cli.invocation import configuration
from cli.lazy_group import command_group
from cli.output import print_line
from persistence.schema.migrate import expected_revision, upgrade

app = command_group("The schema of the database.")


@app.command("upgrade")
def upgrade_schema(context: typer.Context) -> None:
    """Create or migrate the schema; harmless when there is nothing to do."""
    with database(configuration(context).settings, "db upgrade", unlimited=True, any_schema=True) as opened:
        migrated = upgrade(opened)
        what = "now has" if migrated else "has"
        print_line(f"the database {opened.settings.where} {what} the schema {expected_revision()}")
