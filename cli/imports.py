"""`billingd import`: master data and readings from files."""

import dataclasses
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, cast

import typer
from sqlalchemy import Connection

from billing.foreign_text import spelt_out
from billing.periods import Period, Schedule, due_periods
from cli.database import database
from cli.invocation import CommandFailed, Reason, caller_identity, configuration, resolve_reason
from cli.lazy_group import command_group
from cli.output import counted, print_line, print_note
from config.moved_clock import now_from
from config.settings import Settings
from persistence.connection.database import Database
from persistence.connection.errors import DatabaseUnreachable
from persistence.imports import Arrival, Kind, import_file, record, record_refusal
from persistence.master_data import MasterLimits, MasterRejected, MasterReport
from persistence.readings.importing import ReadingsRejected, ReadingsReport, replace_readings
from supervision.clock import SystemClock

app = command_group("Import master data or readings from files.")

RowsRead = Callable[[int], None]
Wait = Annotated[bool, typer.Option("--wait", help="Wait as long as the database is away.")]
WAIT_SECONDS = 1.0

Take = Callable[[Connection, Arrival, Path], Callable[[], None]]
"""Imports a file; what it returns prints what came of it."""


@app.command()
def master(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML, as in the sample data; - is standard input.")],
    wait: Wait = False,
    yes_make: Annotated[int | None, typer.Option(metavar="N", help="Yes, it shall make so many invoices due.")] = None,
    yes_take_back: Annotated[
        int | None, typer.Option(metavar="N", help="Yes, it shall take so many due invoices back.")
    ] = None,
) -> int:
    """Add and update master data from a YAML file; with a problem nothing is imported.

    Nothing is deleted. Due invoices that master data no longer asks for end as aborted.
    """
    settings = configuration(context).settings
    limits = MasterLimits(settings.billing.time_zone, partial(_due_periods, settings), yes_make, yes_take_back)

    def take(connection: Connection, arrival: Arrival, path: Path) -> Callable[[], None]:
        report = cast(MasterReport, import_file(connection, arrival, path, limits=limits))
        return partial(_print_master_report, arrival.name, report)

    return _import(context, [file], "master", take, wait=wait)


def _now() -> datetime:
    clock = SystemClock()
    return now_from(os.environ, clock.wall, clock.monotonic)()


def _due_periods(settings: Settings, first: str) -> list[str]:
    schedule = Schedule(settings.billing.schedule)
    return [str(each) for each in due_periods(Period.parse(first), _now(), schedule, settings.zone)]


def _print_master_report(file: str, report: MasterReport) -> None:
    for warning in report.warnings:
        print_note(f"note: {warning}")
    print_line(f"{file}: imported")
    for name in report.added:
        counts = (report.added[name], report.updated[name], report.unchanged[name])
        if any(counts):
            print_line(f"  {name}: {counts[0]} added, {counts[1]} updated, {counts[2]} unchanged")
    if report.open_invoices_touched:
        print_line(f"  {counted(report.open_invoices_touched, 'open invoice')} touched by changed prices")
    if report.taken_back:
        print_line(f"  {counted(report.taken_back, 'due invoice')} taken back, as master data no longer asks for them")
    if report.to_correct:
        print_line("  billed from the master data of before, and unchanged:")
    for each in report.corrections():
        print_line(f"    {each}")


@app.command()
def readings(
    context: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="CSV or CSV.gz, as in the sample data; - is standard input.")
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Let known values be replaced; the old ones are kept.")
    ] = False,
    reason: Reason = None,
    wait: Wait = False,
    any_time: Annotated[
        bool, typer.Option("--any-time", help="Take instants before 2000 and in the future, too.")
    ] = False,
) -> int:
    """Import register readings, each file whole or not at all; a bad file doesn't keep the others out."""
    if reason is not None and not replace:
        raise typer.BadParameter("goes with --replace only", ctx=context, param_hint="'--reason'")
    given = resolve_reason(reason) if replace else None
    now, by = None if any_time else _now(), caller_identity()

    def take(connection: Connection, arrival: Arrival, path: Path) -> Callable[[], None]:
        with _bar(arrival.name) as progress:
            if given is None:
                report = cast(ReadingsReport, import_file(connection, arrival, path, progress=progress, now=now))
            else:
                report = replace_readings(connection, path, given, by, progress=progress, now=now)
                record(connection, arrival, report)
            return partial(_print_readings_report, arrival.name, report)

    return _import(context, files, "readings", take, wait=wait)


def _import(context: typer.Context, files: Sequence[Path], kind: Kind, take: Take, *, wait: bool) -> int:
    """Imports each file in a transaction of its own; 1 if one was refused. With `wait` it stands an absent database."""
    settings, told, status = configuration(context).settings, False, 0
    with ExitStack() as stack:
        left = [(file, stack.enter_context(_readable_again(file))) for file in files]
        while left:
            try:
                with database(settings, f"import {kind}", unlimited=True) as opened:
                    while left:
                        status |= _import_file(opened, *left[0], kind, take)
                        del left[0]
            except DatabaseUnreachable as error:
                if not wait:
                    raise
                if not told:
                    print_note(f"{error}; waiting for it")
                told = True
                threading.Event().wait(WAIT_SECONDS)
    return status


def _import_file(opened: Database, file: Path, path: Path, kind: Kind, take: Take) -> int:
    arrival = dataclasses.replace(Arrival.of(path, kind, caller_identity(), SystemClock().wall()), name=str(file))
    try:
        show = opened.run(lambda connection: take(connection, arrival, path))
    except (MasterRejected, ReadingsRejected) as error:
        problems = error.problems if isinstance(error, MasterRejected) else [str(error)]
        reasons = [problem.replace(str(path), arrival.name, 1) for problem in problems]
        for reason in reasons:
            print_note(reason)
        opened.run(lambda connection: record_refusal(connection, arrival, reasons))
        return 1
    show()
    return 0


@contextmanager
def _readable_again(file: Path) -> Iterator[Path]:
    """The file, or a copy of all that a pipe gives: a transaction that is repeated reads from the beginning."""
    path = Path(os.path.realpath(file))
    if str(file) != "-" and (path.is_file() or path.is_dir() or not file.exists()):
        yield path
        return
    with tempfile.NamedTemporaryFile() as copy:
        try:
            with os.fdopen(os.dup(0), "rb") if str(file) == "-" else file.open("rb") as pipe:
                shutil.copyfileobj(pipe, copy)
            copy.flush()
        except OSError as error:
            raise CommandFailed(f"cannot copy what {file} gives to {copy.name}: {error.strerror or error}") from error
        yield Path(copy.name)


def _print_readings_report(file: str, report: ReadingsReport) -> None:
    replaced = f", {report.replaced} replaced" if report.replaced else ""
    span = f"{report.first_at:%Y-%m-%dT%H:%MZ} to {report.last_at:%Y-%m-%dT%H:%MZ}"
    print_line(
        f"{file}: {counted(report.rows, 'row')} of {counted(report.meters, 'meter')}, {span}: "
        f"{report.new} new{replaced}, {report.same} known"
    )
    if report.invoices_released:
        print_line(f"  {counted(report.invoices_released, 'invoice')} waiting for readings will be looked at again")
    if report.invoices:
        print_line("  computed from the readings of before, and unchanged (see `billingd invoices correct`):")
        for invoice_id in report.invoices:
            print_line(f"    {invoice_id}")


@contextmanager
def _bar(name: str) -> Iterator[RowsRead | None]:
    """A bar on a terminal's standard error; the rows are counted as they are read, their number is unknown before."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # only a terminal needs it
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    rows = TextColumn("{task.completed:,} rows")
    columns = (TextColumn("{task.description}"), BarColumn(), rows, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(spelt_out(Path(name).name).replace("[", r"\["), total=None)
        yield lambda rows: progress.update(task, completed=rows)
