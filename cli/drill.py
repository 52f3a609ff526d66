"""`billingd drill`: the failure table on a throwaway database and ERP, or a storm of faults."""

import json
import os
import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cli.invocation import CommandFailed
from cli.output import print_line, print_note, write_text
from drills.calls.run import run_calls
from drills.outages import run_outages
from drills.report import Table, document, total
from drills.run import run_cells
from drills.storms import run_storm
from drills.table import UnknownCell, choose, sample
from supervision.clock import system_randomness

USED_WRONGLY = 64
Names = list[str]


def drill(
    failure: Annotated[Names | None, typer.Option(metavar="CODE", help="Only this failure; may be repeated.")] = None,
    variant: Annotated[Names | None, typer.Option(metavar="NAME", help="Only this variant; may be repeated.")] = None,
    state: Annotated[Names | None, typer.Option(metavar="NAME", help="Only this state; may be repeated.")] = None,
    number: Annotated[
        int | None, typer.Option("--sample", metavar="N", min=1, help="So many cells, chosen evenly by the seed.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(metavar="N", min=1, help="How many run at once.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="What chance begins with; drawn if not given.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Where the results go.")] = None,
    storm: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=1, help="Instead of the table: random faults for so long.")
    ] = None,
    outage: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=60, help="Instead of the table: database, then ERP away for so long."),
    ] = None,
    calls: Annotated[
        bool, typer.Option("--calls", help="Instead of the table: each call to the outside fails once, in each way.")
    ] = False,
    case: Annotated[
        str, typer.Option(metavar="REGEX", help="With --calls: only cases in whose name this is found; see --json.")
    ] = "",
) -> int:
    """Make every failure happen for real, in every state of billing, and see whether all four promises hold."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # no process of a drill is left behind
    seed = system_randomness().randrange(10**6) if seed is None else seed
    # Logs of what does not hold are left there; the rest is removed.
    folder = Path(tempfile.mkdtemp(prefix="billingd-drill-"))
    try:
        if storm is not None:
            return 0 if run_storm(seed, storm, folder, print_line) else 1
        if calls:
            return 0 if run_calls(number, seed, jobs or os.cpu_count() or 1, json_file, print_line, case) else 1
        if outage is not None:
            return 0 if run_outages(outage, folder, print_line) else 1
        cells = choose(failure or [], variant or [], state or [])
        cells = cells if number is None else sample(cells, number, seed)
        # A cell mostly waits: two for each processor keep it busy.
        jobs = jobs or 2 * (os.cpu_count() or 1)
        results = run_cells(cells, folder, jobs=jobs, tell=Table(cells, print_line, print_note).take)
        print_line(total(results, seed))
        if json_file is not None:
            write_text(json_file, json.dumps(document(results, seed), indent=1, ensure_ascii=False) + "\n")
        return 0 if all(result.held for result in results) else 1
    except UnknownCell as error:
        raise CommandFailed(str(error), USED_WRONGLY) from error
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()
