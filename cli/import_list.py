"""`billingd imports`: what was imported or refused, when, and from where."""

from typing import Annotated, Any

import typer

from cli.database import database
from cli.invocation import AsJson, CommandFailed, configuration
from cli.lazy_group import command_group
from cli.output import counted, print_json, print_line, print_lines, print_note, print_table
from persistence.imports import find
from web.formatting import utc

app = command_group("The imports: what came when, from where, and what became of it.")
COUNTS = ("rows", "new", "known", "replaced", "invoices_released")


@app.command("list")
def list_them(
    context: typer.Context,
    refused: Annotated[bool, typer.Option("--refused", help="Only those that were refused.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """List the imports, the newest first."""
    found = _find(context, limit=limit, state="refused" if refused else None)
    if as_json:
        print_json(found)
        return
    titles = ("id", "finished", "state", "kind", "from", "rows", "new", "file", "why")
    rows = [
        (row["id"], utc(row["finished_at"]), row["state"], row["kind"], row["source"], row["rows"], row["new"],
         row["name"], next(iter(row["reasons"]), ""))
        for row in found
    ]  # fmt: skip
    print_table(titles, rows, right=("rows", "new"))
    print_note(counted(len(found), "import"))


@app.command()
def show(
    context: typer.Context,
    import_id: Annotated[str, typer.Argument(metavar="ID", help="As `billingd imports list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Show each time that an import came, with all reasons."""
    found = _find(context, import_id)
    if not found:
        raise CommandFailed(f"there is no import {import_id}: `billingd imports list` shows their ids")
    if as_json:
        print_json(found)
        return
    for row in found:
        print_line(f"{row['kind']} {row['name']} from {row['source']}: {row['state']}")
        print_line(f"  received {utc(row['received_at'])}, finished {utc(row['finished_at'])}, SHA-256 {row['sha256']}")
        counts = ", ".join(f"{row[name]} {name.replace('_', ' ')}" for name in COUNTS)
        print_lines([f"  {counts}"] if row["state"] == "imported" else [f"  {reason}" for reason in row["reasons"]])


def _find(context: typer.Context, import_id: str | None = None, **more: Any) -> list[dict[str, Any]]:
    with database(configuration(context).settings, "imports") as opened, opened.reading() as reader:
        return find(reader, import_id, **more)
