"""Traces: one for each invoice, whoever works on it; nothing where nobody asks, no harm where nobody listens."""

import logging
import random
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors import traces
from actors.traces import OtlpTraces
from persistence.connection.database import Database
from persistence.connection.statements import fetch
from persistence.invoices.claims import Delivery
from persistence.master_data import import_master
from persistence.readings.importing import import_readings
from supervision.clock import SystemClock
from testkit.deployment import Deployment
from testkit.ports import free_port
from testkit.proxy import Proxy
from testkit.waiting import wait_until
from tests.support.otlp_receiver import OtlpReceiver, attributes
from tests.support.small_load import write_load

USERS = 3
STEPS = ["due", "calculation", "claim", "PUT"]


class Overheard(Proxy):
    """The way to the ERP; `heard` is all that went there."""

    def __init__(self, target_port: int) -> None:
        self.heard = b""
        super().__init__(target_port)

    def take_trap(self, data: bytes) -> None:
        self.heard += data


@pytest.fixture
def collector() -> Iterator[OtlpReceiver]:
    receiver = OtlpReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def loaded(database: Database, tmp_path: Path) -> None:
    master, readings = write_load(tmp_path / "load", users=USERS, first="2026-10", months=1)
    for load, path in ((import_master, master), (import_readings, readings)):
        with database.transaction() as connection:
            load(connection, path)


@pytest.fixture
def deploy(loaded: None, database_url: str, tmp_path: Path) -> Iterator[Any]:
    deployments: list[Deployment] = []

    def make(endpoint: str | None, **more: Any) -> Deployment:
        name = f"daemon-{len(deployments)}"
        telemetry = {} if endpoint is None else {"telemetry": {"otlp_endpoint": endpoint}}
        settings = {"instance": name, **telemetry, **more.pop("settings", {})}
        deployments.append(Deployment(tmp_path / name, database_url=database_url, settings=settings, **more))
        return deployments[-1]

    yield make
    for each in reversed(deployments):
        each.close()


def test_each_invoice_is_one_trace_over_two_daemons_and_the_erp(
    deploy: Any, collector: OtlpReceiver, database: Database
) -> None:
    first = deploy(collector.url)
    first.erp.start()
    way = Overheard(int(first.erp.base_url.rpartition(":")[2].partition("/")[0]))
    erp = {"base_url": first.erp.base_url.replace(f":{way.target_port}", f":{way.port}"), "poll_interval_seconds": 1}
    first.configure({"instance": "daemon-0", "telemetry": {"otlp_endpoint": collector.url}, "erp": erp})
    verdicts_wait = first.erp.add_fault(kind="initiated", method="PUT", seconds=864_000)
    first.daemon.start()
    wait_until(lambda: first.counts() == {"initiated": USERS})
    first.daemon.stop()
    assert {by for by, _ in collector.spans} == {"daemon-0"}, "what it has recorded is sent before it ends"
    first.erp.clear_faults([verdicts_wait])
    first.erp.give_verdicts()
    second = deploy(collector.url, erp=first.erp, settings={"erp": erp})
    second.daemon.start()
    wait_until(lambda: second.all_registered(USERS))
    second.daemon.stop()
    way.close()

    roots = collector.named("due")
    ids = {f"user-{number:05d}.2026-10.1" for number in range(1, USERS + 1)}
    assert {attributes(root)["billingd.invoice"] for root in roots} == ids
    assert len(roots) == USERS
    with database.transaction() as connection:
        made = {row.id: row.created_at for row in fetch(connection, "SELECT id, created_at FROM invoices")}
    for root in roots:
        since = made[attributes(root)["billingd.invoice"]].timestamp()
        assert root.start_time_unix_nano / 1e9 == pytest.approx(since, abs=1e-3)
        spans = [(by, span) for by, span in collector.spans if span.trace_id == root.trace_id]
        assert [span.name for by, span in spans if by == "daemon-0"][:4] == STEPS
        assert [span.name for by, span in spans if by == "daemon-1"][-2:] == ["claim", "GET"]
        assert all(span.parent_span_id == root.span_id for _, span in spans if span is not root)
        assert len({span.span_id for _, span in spans}) == len(spans)
        assert all(span.start_time_unix_nano <= span.end_time_unix_nano for _, span in spans)
        (calculation,) = (span for _, span in spans if span.name == "calculation")
        assert calculation.start_time_unix_nano == root.end_time_unix_nano
        (offer,) = (span for _, span in spans if span.name == "PUT")
        assert attributes(offer) == {
            "billingd.outcome": "booked", "http.request.method": "PUT", "http.response.status_code": 201,
        }  # fmt: skip
        for span in (offer, spans[-1][1]):
            header = f"traceparent: 00-{root.trace_id.hex()}-{span.span_id.hex()}-01\r\n"
            assert header.encode() in way.heard, "the ERP can go on with the trace"


def test_without_the_key_nothing_of_it_is_imported_or_sent(deploy: Any) -> None:
    deployment = deploy(None, environment={"PYTHONPROFILEIMPORTTIME": "1"})
    deployment.erp.start()
    way = Overheard(int(deployment.erp.base_url.rpartition(":")[2].partition("/")[0]))
    base_url = deployment.erp.base_url.replace(f":{way.target_port}", f":{way.port}")
    deployment.configure({"erp": {"base_url": base_url}})
    deployment.daemon.start()
    wait_until(lambda: deployment.all_registered(USERS))
    deployment.daemon.stop()
    way.close()
    imported = deployment.daemon.log_path.read_text("utf-8")
    assert "actors.courier" in imported
    assert "opentelemetry" not in imported
    assert "google.protobuf" not in imported
    assert b"user-agent" in way.heard
    assert b"traceparent" not in way.heard


def test_a_collector_that_is_away_holds_nothing_up(deploy: Any) -> None:
    port = free_port()
    deployment = deploy(f"http://127.0.0.1:{port}")
    deployment.erp.start()
    deployment.daemon.start()
    wait_until(lambda: deployment.all_registered(USERS))
    log = deployment.daemon.log_path
    wait_until(lambda: b"not all traces reach" in log.read_bytes())
    assert log.read_bytes().count(b"not all traces reach") == 1
    assert deployment.daemon.alarms.all() == []


def deliveries(number: int) -> list[Delivery]:
    return [
        Delivery(f"u.2026-10.{each}", 1, "offer", "sent", Decimal(1), b"", 0, 0, 0) for each in range(1, number + 1)
    ]


def make_traces(url: str) -> OtlpTraces:
    return OtlpTraces(url, SystemClock(), random.Random(1), {"service.instance.id": "one"})


def test_a_slow_collector_costs_the_spans_that_are_too_many(
    collector: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(traces, "WAITING_AT_MOST", 100)
    recorder = make_traces(collector.url)
    collector.answers.clear()
    recorder.claimed(deliveries(10), 0.0)
    recorder.start()
    wait_until(lambda: not recorder._waiting, what="ten are on their way")
    begun = time.monotonic()
    recorder.claimed(deliveries(150), 0.0)
    recorder.claimed(deliveries(7), 0.0)
    assert time.monotonic() - begun < 1
    collector.answers.set()
    wait_until(lambda: len(collector.spans) == 110)
    wait_until(lambda: "57 spans were lost" in caplog.text)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2, "one line when, one line how many"
    recorder.stop(5)


def test_what_is_refused_once_is_lost_and_what_follows_arrives(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(traces, "_RETRY_SECONDS", 0.05)
    port = free_port()
    recorder = make_traces(f"http://127.0.0.1:{port}/")
    recorder.claimed(deliveries(3), 0.0)
    recorder.start()
    wait_until(lambda: "not all traces reach" in caplog.text)
    collector = OtlpReceiver(port)
    recorder.claimed(deliveries(2), 0.0)
    wait_until(lambda: len(collector.spans) == 2)
    wait_until(lambda: "3 spans were lost" in caplog.text)
    recorder.stop(5)
    collector.close()
    assert not any(thread.name == "alarm-traces" for thread in threading.enumerate())


def test_without_the_extra_the_key_is_refused_in_one_line(deploy: Any, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry'] = None\n")
    deployment = deploy("http://127.0.0.1:4318")
    deployment.environment["PYTHONPATH"] = f"{hidden}:{deployment.environment.get('PYTHONPATH', '')}"
    said = "telemetry.otlp_endpoint: traces need the extra `otel`, which is not installed"
    for command, status in (("check-config", 2), ("run", 1)):
        done = deployment.run(command)
        lines = (done.stdout + done.stderr).splitlines()
        assert [said in line for line in lines] == [True], lines
        assert done.returncode == status
