"""A working daemon beside imports and corrections that never end: no deadlock reaches anybody, nothing stands still.

BILLINGD_TEST_SOAK says how many imports and corrections, of which 2,000 want pytest --timeout=0; BILLINGD_TEST_SEED
replays a run.
"""

import gzip
import os
from pathlib import Path

from sqlalchemy import text

from persistence.connection.database import ConnectionSettings, Database
from persistence.invoices.listing import Filter, list_invoices
from persistence.locks import lock_invoices
from persistence.readings.importing import replace_readings
from supervision.clock import system_randomness
from testkit.deployment import Deployment
from testkit.waiting import wait_until
from tests.daemon.soak import END, PERIOD, Soak, correct, reading
from tests.support.small_load import HEADER, write_load

USERS = 40
STANDSTILL_SECONDS = 5.0
LACK_THEIR_ENDS = range(1, 6)


def test_item_10_item_11_imports_and_corrections_beside_a_working_daemon(database_url: str, tmp_path: Path) -> None:
    operations = int(os.environ.get("BILLINGD_TEST_SOAK", "120"))
    seed = int(os.environ.get("BILLINGD_TEST_SEED", "0")) or system_randomness().randrange(1, 10**9)
    print(f"BILLINGD_TEST_SEED={seed} BILLINGD_TEST_SOAK={operations}")
    deployment = Deployment(
        tmp_path / "home", database_url=database_url, settings={"erp": {"poll_interval_seconds": 0.2}}
    )
    try:
        deployment.erp.start()
        deployment.daemon.start()
        soak_beside(deployment, ConnectionSettings.from_url(database_url), operations, seed)
    finally:
        deployment.close()


def soak_beside(deployment: Deployment, settings: ConnectionSettings, operations: int, seed: int) -> None:
    master, readings = write_load(deployment.home / "load", users=USERS, first=PERIOD, months=1)
    deployment.do("import", "master", str(master))
    deployment.do("import", "readings", str(without_ends(readings)))
    wait_until(lambda: deployment.counts() == {"due": len(LACK_THEIR_ENDS), "registered": USERS - len(LACK_THEIR_ENDS)})
    soak = Soak(settings, deployment.home, master, USERS, seed, operations)
    locked = f"user-{LACK_THEIR_ENDS[0]:05d}.{PERIOD}.1"
    with Database(settings.without_limits()) as idle, Database(settings) as database:
        with idle.transaction() as holding:
            assert lock_invoices(holding, [locked]) == [locked]
            soak.run(3, ignoring=locked)
            print(f"{dict(soak.done)}, of which the longest took, in s: {soak.longest_seconds}")
            print(f"nothing went on for {soak.standstill_seconds:.1f} s; {deadlocks(database)} deadlocks in all")
        assert not soak.failures
        assert max(soak.longest_seconds.values()) < STANDSTILL_SECONDS
        assert soak.standstill_seconds < STANDSTILL_SECONDS
        wait_until(lambda: set(deployment.counts()) <= {"registered", "due"})
        listed = {each.split(".")[0] for each in soak.listed}
        # What was computed from other readings and not listed would stay so.
        wait_until(lambda: soak.not_settled(database) <= listed)
        settle(deployment, database, soak)
    alarms = deployment.daemon.standing()
    assert not alarms


def settle(deployment: Deployment, database: Database, soak: Soak) -> None:
    """Brings the last readings and corrects what is left, until each user has paid for what the readings say."""
    path = deployment.home / "ends.csv"
    path.write_text(HEADER + "".join(reading(number, END, 500) for number in range(1, USERS + 1)))
    database.run(lambda connection: replace_readings(connection, path, "the end", "worker"))
    wait_until(lambda: set(deployment.counts()) == {"registered"})
    for user in sorted(soak.not_settled(database)):
        with database.reading() as reader:
            last = max(list_invoices(reader, Filter(network_user=user)), key=lambda each: int(each["revision"]))
        assert correct(database, last["id"]), last["id"]
    wait_until(lambda: set(deployment.counts()) == {"registered"})
    assert not soak.not_settled(database)
    assert len(deployment.erp.ledger()) == sum(deployment.counts().values())


def without_ends(readings: Path) -> Path:
    """The same file, in which some users lack their last reading."""
    lacking = tuple(f"meter-{number:05d},{END}" for number in LACK_THEIR_ENDS)
    path = readings.with_name("some.csv")
    with gzip.open(readings, "rt") as file:
        path.write_text("".join(line for line in file if not line.startswith(lacking)))
    return path


def deadlocks(database: Database) -> int:
    with database.transaction() as connection:
        found = connection.execute(text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))
        return int(found.scalar_one())
