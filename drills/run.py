"""Runs cells, several at once, on copies of one prepared cluster."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from drills.cell import CellRunner, Result
from drills.stage import Stage
from drills.table import Cell
from drills.world import World
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from testkit.postgres import PostgresServer
from testkit.waiting import abandon


class Verdict(Protocol):
    """What a drill came to."""

    log: str | None

    @property
    def held(self) -> bool: ...


V = TypeVar("V", bound=Verdict)


@contextmanager
def prepared(world: World) -> Iterator[Path]:
    """The folder of a cluster that knows this world, to be copied by each stage."""
    # Short, since PostgreSQL's socket lies in it.
    with tempfile.TemporaryDirectory(prefix="drills-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer.make(Path(folder) / "cluster")
        with server.session() as connection:
            import_master(connection, world.write_master(Path(folder) / "master.yaml", late=False))
            import_readings(connection, world.write_readings(Path(folder) / "readings.csv", late=False))
        server.create_app_user()
        server.stop()
        yield server.home


def run_cells(cells: Sequence[Cell], folder: Path, *, jobs: int, tell: Callable[[Result], None]) -> list[Result]:
    """Runs them all, telling of each as it ends; the logs of what did not hold are left below `folder`."""
    world = World()
    results: dict[Cell, Result] = {}
    with prepared(world) as template, ThreadPoolExecutor(jobs, thread_name_prefix="drill") as pool:
        runner = CellRunner(folder, template, world)
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


def play_each(plays: Iterable[tuple[Stage, Callable[[], V]]], tell: Callable[[V], None]) -> bool:
    """Plays one after another, each on its own stage; whether all of them held. Logs of the others are kept."""
    held = True
    for stage, play in plays:
        try:
            result = play()
        finally:
            stage.close()
        if result.held:
            shutil.rmtree(stage.home, ignore_errors=True)
        else:
            result.log = str(stage.home)
        held = held and result.held
        tell(result)
    return held
