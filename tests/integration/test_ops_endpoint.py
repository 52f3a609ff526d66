"""The ops endpoint of a real daemon: what its pages say, and what a thousand bad clients do to it (nothing)."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from testkit.world import SAMPLE, World, eventually
from tests.bad_clients import storm
from web.connections import CONNECTIONS_AT_MOST


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "world", settings={"erp": {"poll_interval_seconds": 0.2}})
    yield world
    world.close()


def get(world: World, page: str, method: str = "GET") -> httpx.Response:
    with httpx.Client(transport=httpx.HTTPTransport(uds=f"{world.home}/ops.sock"), timeout=5) as client:
        return client.request(method, f"http://daemon{page}")


def metrics(world: World) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and the values of its labels, in the order of their names."""
    page = get(world, "/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


def test_the_pages_say_how_things_stand(world: World) -> None:
    world.start_daemon()
    assert get(world, "/healthz").text == "running\n"
    world.start_erp()
    world.import_sample()
    eventually(lambda: world.all_registered(36))
    eventually(lambda: get(world, "/readyz").status_code == 200)
    eventually(lambda: metrics(world)["billingd_invoices", ("registered",)] == 36)
    found = metrics(world)
    assert found["billingd_invoice_oldest_seconds", ("due",)] == 0
    assert found["billingd_erp_request_seconds_count", ("PUT", "booked")] == 36
    assert found["billingd_erp_request_seconds_bucket", ("+Inf", "PUT", "booked")] == 36
    assert found["billingd_erp_breaker", ("closed",)] == 1
    assert found["billingd_restarts_total", ("courier-1",)] == 0
    assert found["billingd_mailbox_messages", ("db_writer",)] >= 0
    assert found["billingd_writer_lag_seconds", ()] < 5
    assert found["billingd_database_up", ()] == found["billingd_erp_up", ()] == 1
    assert found["process_open_fds", ()] > 10
    page, command = get(world, "/status").json(), world.json("status")
    assert page.keys() == command.keys()
    assert page["invoices"] == command["invoices"] == {"registered": 36}
    assert get(world, "/metrics", "DELETE").status_code == 405
    assert get(world, "/nothing").status_code == 404


def test_readiness_needs_database_and_erp_and_health_neither(world: World) -> None:
    world.configure({"erp": {"breaker": {"failure_threshold": 1}}, "alarms": {"raise_within_seconds": 1}})
    world.start_daemon()
    world.import_sample()
    eventually(lambda: get(world, "/readyz").status_code == 503)
    eventually(lambda: metrics(world)["billingd_erp_up", ()] == 0)
    key = world.status()["instance"]
    eventually(lambda: metrics(world).get(("billingd_alarm_standing", ("erp_unreachable", key, "major"))) == 1)
    assert metrics(world)["billingd_invoice_oldest_seconds", ("sent",)] > 0
    assert get(world, "/readyz").text.startswith("the ERP is away")
    assert get(world, "/healthz").status_code == 200


def belongings(world: World) -> tuple[int, int]:
    """How many threads the daemon has, and descriptors but for the sockets that lead to database and ERP.

    Those come and go with the work; a socket of the endpoint is known by the path in the kernel's list.
    """
    assert world.daemon is not None
    process = Path("/proc") / str(world.daemon.pid)
    endpoint = {
        f"socket:[{line.split()[6]}]"
        for line in (process / "net/unix").read_text().splitlines()
        if line.endswith(f" {world.home}/ops.sock")
    }
    found = [held for held in map(held_by, (process / "fd").iterdir()) if held]
    return (
        len(list((process / "task").iterdir())),
        sum(not held.startswith("socket:") or held in endpoint for held in found),
    )


def held_by(descriptor: Path) -> str | None:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return None


@pytest.mark.timeout(240)
def test_a_thousand_slow_and_broken_clients_leave_nothing_behind_while_billing_goes_on(world: World) -> None:
    world.start_erp()
    world.start_daemon()
    first, *others = (str(SAMPLE / f"readings-2026-{month}.csv.gz") for month in ("08", "09", "10"))
    world.do("import", "master", str(SAMPLE / "master.yaml"))
    world.do("import", "readings", first)
    eventually(lambda: world.counts().get("registered") == 12)
    threads, descriptors = belongings(world)
    billed = threading.Event()

    def again_and_again() -> None:
        while not billed.is_set():
            storm(world.home / "ops.sock")

    bad_clients = threading.Thread(target=again_and_again)
    bad_clients.start()
    most = 0
    world.do("import", "readings", *others)
    while not world.all_registered(36) or most <= descriptors:
        most = max(most, belongings(world)[1])
    assert get(world, "/healthz").status_code == 200
    billed.set()
    bad_clients.join(90)
    assert not bad_clients.is_alive()
    assert descriptors < most < descriptors + CONNECTIONS_AT_MOST + 20
    eventually(lambda: belongings(world)[0] <= threads and belongings(world)[1] <= descriptors)
    eventually(lambda: world.standing() == {})
    assert "Traceback" not in world.log()


def test_one_connection_is_one_request(world: World) -> None:
    world.start_daemon()
    assert get(world, "/healthz").headers["connection"] == "close"
