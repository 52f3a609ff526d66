"""Small files of master data and readings for tests that change both under a running calculation."""

import gzip
from pathlib import Path

import yaml

from tests.support.sample import SAMPLE

HEADER = (
    "meter_id,timestamp,active_import_total_wh,active_import_t1_wh,active_import_t2_wh,active_export_total_wh,"
    "reactive_import_total_varh,reactive_export_total_varh\n"
)
AUGUST_ENDS = "2026-08-31T22:00:00Z"


def move(master: Path, folder: Path, location_id: str, user: str) -> Path:
    """A file of master data that gives a measurement location to another network user."""
    locations = yaml.safe_load(master.read_text("utf-8"))["measurement_locations"]
    (moved,) = [{**each, "network_user": user} for each in locations if each["id"] == location_id]
    path = folder / f"move-{location_id}-{user}.yaml"
    path.write_text(yaml.safe_dump({"measurement_locations": [moved]}, allow_unicode=True), "utf-8")
    return path


def raised(folder: Path, meter_id: str, by_wh: int, *, at: str = AUGUST_ENDS, readings: Path | None = None) -> Path:
    """A file with one reading of a known file, T1 and total higher."""
    with gzip.open(readings or SAMPLE / "readings-2026-08.csv.gz", "rt", encoding="utf-8") as file:
        (row,) = [row for row in file if row.startswith(f"{meter_id},{at},")]
    meter, instant, total, t1, *rest = row.split(",")
    path = folder / f"raised-{meter_id}-{by_wh}.csv"
    path.write_text(HEADER + ",".join([meter, instant, str(int(total) + by_wh), str(int(t1) + by_wh), *rest]))
    return path
