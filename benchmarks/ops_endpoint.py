"""What bad clients of the ops endpoint cost billing, slow, broken or greedy ones: ratios of times and of CPU.

Clients, ERP and database run on the same machine, so that the ratio of the times is a bound from above.
"""

import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from testkit.deployment import Deployment
from testkit.usage import cpu_seconds
from testkit.waiting import wait_until
from tests.support.bad_clients import greed, storm
from tests.support.small_load import write_load

USERS = 150
MONTHS = 6
ROUNDS = 3
SLOW_CLIENTS = 1000
GREEDY_CLIENTS = 16


def nobody(_: Path, over: threading.Event) -> None:
    """Nobody is there."""
    over.wait()


def slow(address: Path, over: threading.Event) -> None:
    """A thousand slow and broken clients, again and again."""
    while not over.is_set():
        storm(address, SLOW_CLIENTS)


def greedy(address: Path, over: threading.Event) -> None:
    """Some that ask for the metrics as fast as they are answered."""
    greed(address, GREEDY_CLIENTS, over.is_set)


KINDS = (nobody, slow, greedy)


def bill(home: Path, annoy: Callable[[Path, threading.Event], None]) -> tuple[float, float]:
    """Bills the load while those clients are there; returns seconds and the daemon's CPU seconds."""
    master, readings = write_load(home / "load", users=USERS, first="2026-05", months=MONTHS)
    deployment = Deployment(home / "home", settings={"erp": {"poll_interval_seconds": 0.2}})
    over = threading.Event()
    try:
        deployment.erp.start()
        deployment.daemon.start()
        deployment.do("import", "master", str(master))

        threading.Thread(target=annoy, args=(deployment.home / "ops.sock", over), daemon=True).start()
        begun, used = time.monotonic(), cpu_seconds(deployment.daemon.running_pid())
        deployment.do("import", "readings", str(readings))
        wait_until(lambda: deployment.counts().get("registered") == USERS * MONTHS, within_seconds=300)
        return time.monotonic() - begun, cpu_seconds(deployment.daemon.running_pid()) - used
    finally:
        over.set()
        deployment.close()


def main() -> None:
    """Prints one JSON document."""
    rounds: dict[str, list[tuple[float, float]]] = {kind.__name__: [] for kind in KINDS}
    for number in range(ROUNDS):
        for kind in KINDS:
            with tempfile.TemporaryDirectory() as home:
                rounds[kind.__name__].append(bill(Path(home), kind))
                print(f"round {number + 1}, {kind.__name__}: {rounds[kind.__name__][-1]}", file=sys.stderr)
    medians = {
        name: [statistics.median(column) for column in zip(*found, strict=True)] for name, found in rounds.items()
    }
    seconds, cpu = medians["nobody"]
    ratios = {
        name: {"seconds": round(each[0], 2), "times": round(each[0] / seconds, 2), "cpu": round(each[1] / cpu, 2)}
        for name, each in medians.items()
    }
    print(json.dumps({"invoices": USERS * MONTHS, "rounds": ROUNDS, **ratios}, indent=2))


if __name__ == "__main__":
    main()
