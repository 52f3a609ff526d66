"""The ops endpoint of a real daemon: what its pages say, and what a thousand bad clients do to it (nothing)."""

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Receive, Scope, Send

from config.values import UnixAddress
from testkit.deployment import Deployment
from testkit.waiting import wait_until
from tests.support.bad_clients import storm
from tests.support.sample import import_readings, import_sample
from web.connections import CONNECTIONS_AT_MOST
from web.server import HttpServer

pytestmark = pytest.mark.slow


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path / "home", settings={"erp": {"poll_interval_seconds": 0.2}})
    yield deployment
    deployment.close()


def get(deployment: Deployment, page: str, method: str = "GET") -> httpx.Response:
    with httpx.Client(transport=httpx.HTTPTransport(uds=f"{deployment.home}/ops.sock"), timeout=5) as client:
        return client.request(method, f"http://daemon{page}")


def metrics(deployment: Deployment) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and the values of its labels, in the order of their names."""
    page = get(deployment, "/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


def test_the_pages_say_how_things_stand(deployment: Deployment) -> None:
    deployment.daemon.start()
    assert get(deployment, "/healthz").text == "running\n"
    deployment.erp.start()
    import_sample(deployment)
    wait_until(lambda: deployment.all_registered(36))
    wait_until(lambda: get(deployment, "/readyz").status_code == 200)
    wait_until(lambda: metrics(deployment)["billingd_invoices", ("registered",)] == 36)
    found = metrics(deployment)
    assert found["billingd_invoice_oldest_seconds", ("due",)] == 0
    assert found["billingd_erp_request_seconds_count", ("PUT", "booked")] == 36
    assert found["billingd_erp_request_seconds_bucket", ("+Inf", "PUT", "booked")] == 36
    assert found["billingd_erp_breaker", ("closed",)] == 1
    wait_until(lambda: metrics(deployment)["billingd_queue_wait_seconds_count", ()] == 36)
    timed = metrics(deployment)
    assert timed["billingd_delivery_seconds_count", ("registered",)] == 36
    assert 0 < timed["billingd_delivery_seconds_sum", ("registered",)] < 36 * 60
    days = timed["billingd_period_end_to_registered_seconds_sum", ()] / 36 / 86400
    assert 24 < days < 365 * 30, "the sample's months are over for at least so long"
    assert timed["billingd_database_transaction_seconds_count", ("db_writer",)] > 3
    assert {name for name, _ in timed if name.startswith("billingd_")} >= {"billingd_build_info"}
    assert found["billingd_restarts_total", ("courier-1",)] == 0
    assert found["billingd_mailbox_messages", ("db_writer",)] >= 0
    assert found["billingd_writer_lag_seconds", ()] < 5
    assert found["billingd_database_up", ()] == found["billingd_erp_up", ()] == 1
    assert found["process_open_fds", ()] > 10
    page, command = get(deployment, "/status").json(), deployment.json("status")
    assert page.keys() == command.keys()
    assert page["invoices"] == command["invoices"] == {"registered": 36}
    assert get(deployment, "/metrics", "DELETE").status_code == 405
    assert get(deployment, "/nothing").status_code == 404


def test_readiness_needs_database_and_erp_and_health_neither(deployment: Deployment) -> None:
    deployment.configure({"erp": {"breaker": {"failure_threshold": 1}}, "alarms": {"raise_within_seconds": 1}})
    deployment.daemon.start()
    import_sample(deployment)
    wait_until(lambda: get(deployment, "/readyz").status_code == 503)
    wait_until(lambda: metrics(deployment)["billingd_erp_up", ()] == 0)
    key = deployment.daemon.status()["instance"]
    wait_until(lambda: metrics(deployment).get(("billingd_alarm_standing", ("erp_unreachable", key, "major"))) == 1)
    assert metrics(deployment)["billingd_invoice_oldest_seconds", ("sent",)] > 0
    assert get(deployment, "/readyz").text.startswith("the ERP is away")
    assert get(deployment, "/healthz").status_code == 200


def belongings(deployment: Deployment) -> tuple[int, int]:
    """How many threads the daemon has, and descriptors but for the sockets that lead to database and ERP.

    Those come and go with the work; a socket of the endpoint is known by the path in the kernel's list.
    """
    process = Path("/proc") / str(deployment.daemon.running_pid())
    endpoint = {
        f"socket:[{line.split()[6]}]"
        for line in (process / "net/unix").read_text().splitlines()
        if line.endswith(f" {deployment.home}/ops.sock")
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
def test_a_thousand_slow_and_broken_clients_leave_nothing_behind_while_billing_goes_on(deployment: Deployment) -> None:
    deployment.erp.start()
    deployment.daemon.start()
    import_sample(deployment, "08")
    wait_until(lambda: deployment.counts().get("registered") == 12)
    threads, descriptors = belongings(deployment)
    billed = threading.Event()

    def again_and_again() -> None:
        while not billed.is_set():
            storm(deployment.home / "ops.sock")

    bad_clients = threading.Thread(target=again_and_again)
    bad_clients.start()
    most = 0
    import_readings(deployment, "09", "10")
    while not deployment.all_registered(36) or most <= descriptors:
        most = max(most, belongings(deployment)[1])
    assert get(deployment, "/healthz").status_code == 200
    billed.set()
    bad_clients.join(90)
    assert not bad_clients.is_alive()
    assert descriptors < most < descriptors + CONNECTIONS_AT_MOST + 20
    wait_until(lambda: belongings(deployment)[0] <= threads and belongings(deployment)[1] <= descriptors)
    wait_until(lambda: deployment.daemon.standing() == {})
    assert "Traceback" not in deployment.daemon.log()


def test_one_connection_is_one_request(deployment: Deployment) -> None:
    deployment.daemon.start()
    assert get(deployment, "/healthz").headers["connection"] == "close"


def test_a_socket_that_can_not_be_removed_does_not_fail_the_stop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ops.sock"
    server = HttpServer(UnixAddress(path), "ops.listen", "ops")
    server.bind()
    path.unlink()
    path.mkdir()  # so that unlink raises, for root too
    server.close()
    assert "ops.listen: the socket can't be removed: Is a directory" in caplog.text


def test_a_request_that_a_stop_cuts_off_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")
    begun = threading.Event()

    async def never_answer(_scope: Scope, _receive: Receive, _send: Send) -> None:
        begun.set()
        await asyncio.Event().wait()

    server = HttpServer(UnixAddress(tmp_path / "sock"), "intake.listen", "http")
    server.bind()
    server.serve(never_answer)
    with socket.socket(socket.AF_UNIX) as gateway:
        gateway.connect(str(tmp_path / "sock"))
        gateway.sendall(b"GET / HTTP/1.1\r\nhost: intake\r\n\r\n")
        assert begun.wait(5)
        server.close()
    assert "running task" in caplog.text
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR] == []
