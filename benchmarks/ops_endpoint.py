"""What a thousand slow and broken clients of the ops endpoint cost billing: the ratio of the times, and of CPU.

Clients, ERP and database run on the same machine, so that the ratio of the times is a bound from above.
"""

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.bad_clients import storm
from tests.small_load import write_load
from tests.world import World, eventually

USERS = 150
MONTHS = 6
ROUNDS = 3
CLIENTS = 1000


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bill(home: Path, clients: int) -> tuple[float, float]:
    """Bills the load while that many bad clients are there; returns seconds and the daemon's CPU seconds."""
    master, readings = write_load(home / "load", users=USERS, first="2026-05", months=MONTHS)
    world = World(home / "world", settings={"erp": {"poll_interval_seconds": 0.2}})
    over = threading.Event()
    try:
        world.start_erp()
        world.start_daemon()
        world.do("import", "master", str(master))
        assert world.daemon is not None

        def annoy() -> None:
            while not over.is_set():
                storm(world.home / "ops.sock", clients)

        if clients:
            threading.Thread(target=annoy, daemon=True).start()
        begun, used = time.monotonic(), cpu_seconds(world.daemon.pid)
        world.do("import", "readings", str(readings))
        eventually(lambda: world.counts().get("registered") == USERS * MONTHS, within_seconds=300)
        return time.monotonic() - begun, cpu_seconds(world.daemon.pid) - used
    finally:
        over.set()
        world.close()


def main() -> None:
    """Prints one JSON document."""
    rounds: dict[int, list[tuple[float, float]]] = {0: [], CLIENTS: []}
    for number in range(ROUNDS):
        for clients in rounds:
            with tempfile.TemporaryDirectory() as home:
                rounds[clients].append(bill(Path(home), clients))
                print(f"round {number + 1}, {clients} clients: {rounds[clients][-1]}", file=sys.stderr)
    medians = {
        clients: [statistics.median(column) for column in zip(*found, strict=True)] for clients, found in rounds.items()
    }
    print(
        json.dumps(
            {
                "invoices": USERS * MONTHS,
                "clients": CLIENTS,
                "rounds": ROUNDS,
                "seconds_without": round(medians[0][0], 2),
                "seconds_with": round(medians[CLIENTS][0], 2),
                "ratio_of_times": round(medians[CLIENTS][0] / medians[0][0], 2),
                "ratio_of_cpu": round(medians[CLIENTS][1] / medians[0][1], 2),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
