"""Makes a small load: many users with one meter each, readings at the months' ends only, for kinds without peak."""

import gzip
from pathlib import Path
from zoneinfo import ZoneInfo

from billing.identity import is_oib
from billing.periods import Period
from tests.support.sample import SAMPLE

ZAGREB = ZoneInfo("Europe/Zagreb")
HEADER = (
    "meter_id,timestamp,active_import_total_wh,active_import_t1_wh,active_import_t2_wh,"
    "active_export_total_wh,reactive_import_total_varh,reactive_export_total_varh\n"
)


def write_load(folder: Path, *, users: int, first: str, months: int) -> tuple[Path, Path]:
    """Writes master.yaml and readings.csv.gz for `users` × `months` invoices; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    fixed = (SAMPLE / "master.yaml").read_text("utf-8")
    master = [fixed[: fixed.index("\nnetwork_users:") + 1], "network_users:\n"]
    numbers = range(1, users + 1)
    for number in numbers:
        digits = f"99{number:08d}"
        oib = next(digits + last for last in "0123456789" if is_oib(digits + last))
        master.append(
            f"  - id: user-{number:05d}\n    title: Korisnik {number}\n    location: zds-lonja\n"
            f'    altibiz_sub_project_code: L-{number:05d}\n    billed_from: "{first}"\n    legal_person:\n'
            f'      name: Korisnik {number}\n      oib: "{oib}"\n      address: Ulica {number}\n'
            f'      postal_code: "10000"\n      city: Zagreb\n'
        )
    master.append("\nmeasurement_locations:\n")
    for number in numbers:
        catalogue = "white-low" if number % 2 else "blue-low"
        master.append(
            f"  - id: ml-{number:05d}\n    title: Mjesto {number}\n    network_user: user-{number:05d}\n"
            f"    catalogue: {catalogue}\n    meter_id: meter-{number:05d}\n"
        )
    master.append("\nmeters:\n")
    master.extend(f"  - id: meter-{number:05d}\n    kind: abb_b2x\n    phases: [l1]\n" for number in numbers)
    (folder / "master.yaml").write_text("".join(master), "utf-8")
    period, instants = Period.parse(first), []
    for _ in range(months):
        instants.append(period.start(ZAGREB))
        period = period.next()
    instants.append(period.start(ZAGREB))
    with gzip.open(folder / "readings.csv.gz", "wt", newline="") as file:
        file.write(HEADER)
        for number in numbers:
            for month, instant in enumerate(instants):
                t1, t2 = 1000 * (number + month * (100 + number)), 500 * (number + month * (50 + number))
                reactive = month * 100 * number
                file.write(f"meter-{number:05d},{instant:%Y-%m-%dT%H:%M:%SZ},{t1 + t2},{t1},{t2},0,{reactive},0\n")
    return folder / "master.yaml", folder / "readings.csv.gz"
