"""Runs cells, several at once, on copies of one prepared cluster."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from drills.cells import CellRunner, Result
from drills.environment import Environment
from drills.table import Cell
from drills.workload import Workload
from persistence.master_data import import_master
from persistence.readings import import_readings
from testkit.postgres import PostgresServer
from testkit.waiting import abandon


class Verdict(Protocol):
    """What a drill came to."""

    log: str | None

    @property
    def held(self) -> bool: ...


V = TypeVar("V", bound=Verdict)


@contextmanager
def prepared(workload: Workload) -> Iterator[Path]:
    """The folder of a cluster that knows this workload, to be copied by each environment."""
    # Short, since PostgreSQL's socket lies in it.
    with tempfile.TemporaryDirectory(prefix="drills-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer.make(Path(folder) / "cluster")
        with server.session() as connection:
            import_master(connection, workload.write_master(Path(folder) / "master.yaml", late=False))
            import_readings(connection, workload.write_readings(Path(folder) / "readings.csv", late=False))
        server.create_app_user()
        server.stop()
        yield server.home


def run_cells(cells: Sequence[Cell], folder: Path, *, jobs: int, tell: Callable[[Result], None]) -> list[Result]:
    """Runs them all, telling of each as it ends; the logs of what did not hold are left below `folder`."""
    workload = Workload()
    results: dict[Cell, Result] = {}
    with prepared(workload) as template, ThreadPoolExecutor(jobs, thread_name_prefix="drill") as pool:
        runner = CellRunner(folder, template, workload)
        under_way = {pool.submit(runner.run, cell): cell for cell in cells}
        try:
            for future in as_completed(under_way):
                results[under_way[future]] = future.result()
                tell(future.result())
        finally:
            if len(results) < len(cells):
                # Whoever interrupts a drill wants its processes gone, too.
                pool.shutdown(wait=False, cancel_futures=True)
                abandon()
                runner.abandon()
    return [results[cell] for cell in cells]


def run_each(runs: Iterable[tuple[Environment, Callable[[], V]]], tell: Callable[[V], None]) -> bool:
    """Runs one after another, each in its own environment; whether all of them held. Logs of the others are kept."""
    held = True
    for env, run in runs:
        try:
            result = run()
        finally:
            env.close()
        if result.held:
            shutil.rmtree(env.home, ignore_errors=True)
        else:
            result.log = str(env.home)
        held = held and result.held
        tell(result)
    return held
