"""The whole pipeline side by side with the floor, in one run: due to booked, at an ERP of 0 and of 20 ms."""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import text

from benchmarks import floor
from tests.postgres import PostgresServer
from tests.small_load import write_load
from tests.world import World, eventually

MONTH = "2026-10"


def measure(folder: Path, users: int, delay_seconds: float) -> tuple[float, float]:
    """(invoices a second of billingd, of the floor), each on a fresh database of one server, one after the other."""
    server = PostgresServer.make(folder / "server")
    world = World(folder / "world", database_url=server.url(), settings={"billing": {"look_every_seconds": 3600}})
    try:
        master, readings = write_load(folder / "load", users=users, first=MONTH, months=1)
        world.start_erp()
        if delay_seconds:
            world.erp("POST", "faults", {"kind": "delay", "seconds": delay_seconds})
        world.do("import", "master", str(master))
        world.do("import", "readings", str(readings))
        world.start_daemon()
        eventually(lambda: world.all_registered(users), within_seconds=600)
        world.stop_daemon()
        with world.database() as database:
            with database.transaction() as connection:
                seconds = connection.execute(
                    text("SELECT extract(epoch FROM max(updated_at) - min(created_at))::float8 FROM invoices")
                ).scalar_one()
                ids = [str(each) for each in connection.execute(text("SELECT id FROM invoices ORDER BY id")).scalars()]
            # The ERP books the floor's invoices anew: under other ids, of the same length.
            world.stop_erp()
            world.ledger_path.unlink()
            world.start_erp()
            if delay_seconds:
                world.erp("POST", "faults", {"kind": "delay", "seconds": delay_seconds})
            began = time.perf_counter()
            floor.run(database, f"http://127.0.0.1:{world.erp_port}/api/v1", ids)
            floor_seconds = time.perf_counter() - began
        return users / seconds, users / floor_seconds
    finally:
        world.close()
        server.destroy()


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--users", type=int, default=2000)
    arguments.add_argument("--pairs", type=int, default=5)
    arguments.add_argument("--delay-ms", type=float, action="append")
    chosen = arguments.parse_args()
    for delay_ms in chosen.delay_ms or [20.0, 0.0]:
        ratios = []
        for pair in range(1, chosen.pairs + 1):
            with tempfile.TemporaryDirectory(prefix="billingd-bench-") as folder:
                ours, floors = measure(Path(folder), chosen.users, delay_ms / 1000)
            ratios.append(ours / floors)
            sys.stdout.write(
                f"{delay_ms:g} ms, pair {pair}: billingd {ours:.0f}/s, floor {floors:.0f}/s, ratio {ratios[-1]:.2f}\n"
            )
            sys.stdout.flush()
        sys.stdout.write(f"{delay_ms:g} ms: median ratio {statistics.median(ratios):.2f} of {len(ratios)} pairs\n")


if __name__ == "__main__":
    main()
