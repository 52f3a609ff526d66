"""`billingd import`: master data and readings from files."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from billing.foreign_text import spelt_out
from cli.database import database
from cli.invocation import Reason, caller_identity, configuration, resolve_reason
from cli.lazy_group import command_group
from cli.output import counted, print_line, print_note
from persistence.connection.database import Database
from persistence.master_data import MasterRejected, MasterReport, import_master
from persistence.readings.importing import ReadingsRejected, ReadingsReport, import_readings, replace_readings

app = command_group("Import master data or readings from files.")

RowsRead = Callable[[int], None]


@app.command()
def master(
    context: typer.Context, file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML, as in the sample data.")]
) -> int:
    """Add and update master data from a YAML file; nothing is deleted, and with a problem nothing imported."""
    with database(configuration(context).settings, "import master", unlimited=True) as opened:
        try:
            report = opened.run(lambda connection: import_master(connection, file))
        except MasterRejected as error:
            for problem in error.problems:
                print_note(problem)
            return 1
        _print_master_report(file, report)
        return 0


def _print_master_report(file: Path, report: MasterReport) -> None:
    for warning in report.warnings:
        print_note(f"note: {warning}")
    print_line(f"{file}: imported")
    for name in report.added:
        counts = (report.added[name], report.updated[name], report.unchanged[name])
        if any(counts):
            print_line(f"  {name}: {counts[0]} added, {counts[1]} updated, {counts[2]} unchanged")
    if report.open_invoices_touched:
        print_line(f"  {counted(report.open_invoices_touched, 'open invoice')} touched by changed prices")


@app.command()
def readings(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="CSV or CSV.gz, as in the sample data.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Let known values be replaced; the old ones are kept.")
    ] = False,
    reason: Reason = None,
) -> int:
    """Import register readings, each file whole or not at all; a bad file doesn't keep the others out."""
    if reason is not None and not replace:
        raise typer.BadParameter("goes with --replace only", ctx=context, param_hint="'--reason'")
    settings = configuration(context).settings
    given = resolve_reason(reason) if replace else ""
    status = 0
    with database(settings, "import readings", unlimited=True) as opened:
        for file in files:
            try:
                report = _take(opened, file, replace=replace, reason=given)
            except ReadingsRejected as error:
                print_note(str(error))
                status = 1
            else:
                _print_readings_report(report)
    return status


def _take(opened: Database, file: Path, *, replace: bool, reason: str) -> ReadingsReport:
    with _bar(file) as progress:
        if replace:
            return opened.run(
                lambda connection: replace_readings(connection, file, reason, caller_identity(), progress=progress)
            )
        return opened.run(lambda connection: import_readings(connection, file, progress=progress))


def _print_readings_report(report: ReadingsReport) -> None:
    replaced = f", {report.replaced} replaced" if report.replaced else ""
    span = f"{report.first_at:%Y-%m-%dT%H:%MZ} to {report.last_at:%Y-%m-%dT%H:%MZ}"
    print_line(
        f"{report.file}: {counted(report.rows, 'row')} of {counted(report.meters, 'meter')}, {span}: "
        f"{report.new} new{replaced}, {report.same} known"
    )
    if report.invoices_released:
        print_line(f"  {counted(report.invoices_released, 'invoice')} waiting for readings will be looked at again")
    if report.invoices:
        print_line("  computed from replaced values, and unchanged (see `billingd invoices correct`):")
        for invoice_id in report.invoices:
            print_line(f"    {invoice_id}")


@contextmanager
def _bar(file: Path) -> Iterator[RowsRead | None]:
    """A bar on a terminal's standard error; the rows are counted as they are read, their number is unknown before."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # only a terminal needs it
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    rows = TextColumn("{task.completed:,} rows")
    columns = (TextColumn("{task.description}"), BarColumn(), rows, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(spelt_out(file.name).replace("[", r"\["), total=None)
        yield lambda rows: progress.update(task, completed=rows)
