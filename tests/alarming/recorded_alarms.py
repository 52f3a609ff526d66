"""Records what a Prometheus scrapes in cells of the drill: `python -m tests.alarming.recorded_alarms`."""

import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from drills.cells import CellRun
from drills.environment import Environment
from drills.run import prepared
from drills.table import Cell
from drills.workload import Workload
from testkit.daemon_log import wall_seconds
from tests.support.sample import ROOT

RECORDED = ROOT / "tests" / "data" / "recorded_alarms.yaml"
INTERVAL_SECONDS = 0.2
CLEAR_OF_CHANGES_SECONDS = 0.3
"""An alarm's line and the metric of it are this close together."""
_READ_BY_ALERTS = re.compile(r"(billingd_(?:up|alarm_standing)(?:{.*})?) ([\d.]+)$", re.MULTILINE)
CELLS = (
    ("D1", "stopped_fast", "calculated"),
    ("D2", "table_missing", "calculated"),
    ("D2", "row_refused", "calculated"),
    ("D3", "restored_while_down", "initiated"),
    ("S1", "killed", "storing"),
    ("S1", "inbox_full", "importing"),
    ("S1", "database_clock_back", "initiated"),
    ("S2", "raises_on_every", "calculated"),
    ("S2", "hangs", "storing"),
    ("E1", "refused", "sending_before"),
    ("E2", "html", "sending_before"),
    ("E3", "401_long", "sending_before"),
    ("E3", "409_one", "sending_before"),
    ("E3", "422_one", "sending_before"),
    ("E3", "500_long", "sending_before"),
)
"""Cells in which each code that the drill raises stands."""


class Scraper:
    """The series that the alerts read, a sample each INTERVAL_SECONDS; None where there was none."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._over = threading.Event()
        self.at: list[float] = []
        self.samples: list[dict[str, str]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _run(self) -> None:
        transport = httpx.HTTPTransport(uds=f"{self._environment.home}/ops.sock")
        while not self._over.wait(INTERVAL_SECONDS):
            try:
                with httpx.Client(transport=transport, timeout=INTERVAL_SECONDS) as client:
                    found = dict(_READ_BY_ALERTS.findall(client.get("http://daemon/metrics").text))
            except httpx.HTTPError:
                found = {}
            self.at.append(wall_seconds())
            self.samples.append({"up": str(int(bool(found))), **found})

    def series(self) -> dict[str, str]:
        """Each series in promtool's notation: one that a scrape lacks is stale, as at Prometheus."""
        names = sorted({name for sample in self.samples for name in sample})
        return {name: " ".join(_values([sample.get(name) for sample in self.samples])) for name in names}

    def standing(self) -> dict[int, list[list[str]]]:
        """Code and key of what stands by the log, at each sample of a daemon that answers and clear of any change."""
        lines, expected = self._environment.daemon.alarms.all(), {}
        for number, (at, sample) in enumerate(zip(self.at, self.samples, strict=True)):
            if sample["up"] == "0" or any(abs(line.at - at) < CLEAR_OF_CHANGES_SECONDS for line in lines):
                continue
            stands: set[tuple[str, str]] = set()
            for line in lines:
                if line.at < at:
                    (stands.discard if line.state == "cleared" else stands.add)((line.code, line.key))
            expected[number] = sorted(map(list, stands))
        return expected


def _values(values: list[str | None]) -> Iterator[str]:
    before = None
    for value in values:
        yield value or ("stale" if before else "_")
        before = value


def record(cell: Cell, folder: Path, template: Path, workload: Workload) -> dict[str, Any]:
    """Runs a cell that has to hold, and returns its series and what stood when."""
    with closing(cell.fault()) as fault, closing(Environment(folder, template, workload, fault.setting)) as env:
        scraper = Scraper(env)
        with scraper.running():
            result = CellRun(cell, env, fault).run()
        assert result.held, result.reason
        return {"series": scraper.series(), "standing": scraper.standing()}


def main() -> None:
    """Records all CELLS anew."""
    workload, recorded = Workload(), {}
    with tempfile.TemporaryDirectory() as folder, prepared(workload) as template:
        for number, names in enumerate(CELLS):
            said = " ".join(names)
            recorded[said] = record(Cell(*names), Path(folder) / str(number), template, workload)
            print(said, {code for stands in recorded[said]["standing"].values() for code, _ in stands})
    RECORDED.write_text(yaml.safe_dump(recorded, width=120), "utf-8")


if __name__ == "__main__":
    main()
