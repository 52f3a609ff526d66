"""Runs drills, each in an environment of its own, on copies of one prepared cluster."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from drills.cells import Result, run_cell
from drills.environment import POSTGRES, Environment, Setting
from drills.table import Cell
from drills.workload import Workload
from testkit.postgres import PostgresServer
from testkit.waiting import abandon


@dataclass
class Verdict:
    """What a drill that takes so many seconds came to; `log` is the folder of its logs, if it did not hold."""

    seconds: float
    wrong: list[str] = field(default_factory=list)
    log: Path | None = None

    @property
    def held(self) -> bool:
        return not self.wrong

    def line(self) -> str:
        """What it came to, and whether it held or why not."""
        outcome = "held" if self.held else f"NOT HELD: {'; '.join(self.wrong)}; logs in {self.log}"
        return f"{self.said()}: {outcome}"

    def said(self) -> str:
        """What it came to, in words."""
        raise NotImplementedError


@contextmanager
def prepared(workload: Workload) -> Iterator[Path]:
    """The folder of a cluster with this workload; each environment copies it."""
    # Short, since PostgreSQL's socket lies in it.
    with tempfile.TemporaryDirectory(prefix="drills-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer.make(Path(folder) / "cluster", POSTGRES)
        workload.load(server, Path(folder), late=False)
        server.create_app_user()
        server.stop()
        yield server.home


def run_cells(cells: Sequence[Cell], folder: Path, *, jobs: int, tell: Callable[[Result], None]) -> list[Result]:
    """Runs them all, telling of each as it ends; the logs of what did not hold are left below `folder`."""
    workload = Workload()
    results: dict[Cell, Result] = {}
    with prepared(workload) as template, ThreadPoolExecutor(jobs, thread_name_prefix="drill") as pool:
        under_way = {pool.submit(run_cell, cell, folder, template, workload): cell for cell in cells}
        try:
            for future in as_completed(under_way):
                results[under_way[future]] = future.result()
                tell(future.result())
        finally:
            if len(results) < len(cells):
                # An interrupted drill must end its processes, too.
                pool.shutdown(wait=False, cancel_futures=True)
                abandon()
    return [results[cell] for cell in cells]


def run_each(
    drills: Mapping[str, Callable[[Environment], Verdict]],
    workload: Workload,
    setting: Setting,
    folder: Path,
    tell: Callable[[str], None],
) -> bool:
    """Runs one after another, each in a folder of its name, and tells of each; whether all of them held."""
    held = True
    with prepared(workload) as template:
        for name, run in drills.items():
            with closing(Environment(folder / name, template, workload, setting)) as env:
                result = run(env)
            if result.held:
                shutil.rmtree(env.home, ignore_errors=True)
            else:
                result.log = env.home
            held = held and result.held
            tell(result.line())
    return held
