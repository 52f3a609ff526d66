"""The metrics for Prometheus: the status document as gauges, and what the actors have counted."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from actors.metrics import ActorMetrics
from alarming.actor import AlarmSnapshot
from billing.states import FINAL_STATES, State

BREAKER_STATES = ("closed", "open", "half-open")

_Document = Mapping[str, Any]
Samples = Iterable[tuple[tuple[str, ...], float]]


class Metrics:
    """Renders a status document together with the counters, without waiting for database or ERP."""

    def __init__(
        self,
        metrics: ActorMetrics,
        snapshot: AlarmSnapshot,
        waiting_messages: Callable[[], Mapping[str, int]],
        now: Callable[[], float],
    ) -> None:
        """`now` is the monotonic clock, in seconds."""
        self._actor_metrics = metrics
        self._snapshot = snapshot
        self._waiting_messages = waiting_messages
        self._now = now

    def render(self, document: _Document) -> bytes:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Families(lambda: self._collect(document)))
        return generate_latest(registry)

    def _collect(self, document: _Document) -> Iterator[Metric]:
        yield from _daemon(document)
        yield from _invoices(document)
        yield from _surroundings(document)
        yield from self._actor_metrics.requests.collect()
        lag = self._actor_metrics.writer_lag_seconds(self._now())
        yield _gauge("billingd_writer_lag_seconds", "For how long the oldest write waits to be stored.", lag)
        waiting = (((name,), number) for name, number in self._waiting_messages().items())
        yield _gauges("billingd_mailbox_messages", "Messages that wait for an actor.", ["name"], waiting)
        yield from self._closings()
        yield from self._intake(document["at"].timestamp())
        yield from _tree(document["tree"])
        labels = ["code", "key", "severity"]
        alarms = ((tuple(alarm[label] for label in labels), 1) for alarm in document["alarms"])
        yield _gauges("billingd_alarm_standing", "1 for each alarm that stands.", labels, alarms)
        yield _counter("billingd_alarms_raised", "Alarms raised.", "code", self._snapshot.raised)
        yield _counter(
            "billingd_alarm_blips", "Troubles over before an alarm was due.", "code", self._snapshot.transients
        )

    def _intake(self, now_seconds: float) -> Iterator[Metric]:
        waiting = self._actor_metrics.waiting_files
        oldest = 0.0 if waiting.oldest_seconds is None else max(0.0, now_seconds - waiting.oldest_seconds)
        yield _gauge("billingd_intake_waiting_files", "Files that wait in the inbox.", waiting.files)
        yield _gauge("billingd_intake_waiting_bytes", "Their size.", waiting.size_bytes)
        yield _gauge("billingd_intake_oldest_seconds", "For how long the oldest of them waits.", oldest)
        yield _gauge("billingd_intake_refused_files", "Refused files that nobody has seen to.", waiting.refused)
        yield from self._actor_metrics.imports.collect()
        yield from self._actor_metrics.imported_rows.collect()

    def _closings(self) -> Iterator[Metric]:
        closings = self._actor_metrics.closings
        yield _gauges(
            "billingd_period_closed_seconds", "When the last invoice of a period became final.", ["period"],
            (((each.period,), each.closed_at.timestamp()) for each in closings),
        )  # fmt: skip
        numbers = ((each.period, {State.REGISTERED: each.registered, State.ABORTED: each.aborted}) for each in closings)
        yield _gauges(
            "billingd_period_invoices", "Invoices of a closed period by how they ended.", ["period", "state"],
            (((period, state), number) for period, ended in numbers for state, number in ended.items()),
        )  # fmt: skip
        yield _gauges(
            "billingd_period_total_with_tax_eur", "What is registered of a closed period.", ["period"],
            (((each.period,), float(each.total_with_tax_eur)) for each in closings),
        )  # fmt: skip


class _Families(Collector):
    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        return self._collect()


def _daemon(document: _Document) -> Iterator[Metric]:
    configuration = document["configuration"]
    yield _gauge("billingd_up", "1 while the tree goes on.", float(document["running"]))
    about = (document["version"], document["instance"], configuration["sha256"] or "")
    yield _gauges("billingd_info", "What runs.", ["version", "instance", "configuration_sha256"], [(about, 1)])
    yield _gauge("billingd_start_time_seconds", "When the daemon started.", document["since"].timestamp())
    loaded_at = configuration["loaded_at"].timestamp()
    yield _gauge("billingd_configuration_loaded_seconds", "Since when its file is in force.", loaded_at)
    yield _gauge("billingd_threads", "Threads of the process.", threading.active_count())


def _invoices(document: _Document) -> Iterator[Metric]:
    counts = (((state.value,), document["invoices"].get(state.value, 0)) for state in State)
    yield _gauges("billingd_invoices", "Invoices in each state.", ["state"], counts)
    yield _gauges(
        "billingd_invoice_oldest_seconds", "For how long the oldest invoice has stood in a state.", ["state"],
        (
            ((state.value,), document["oldest_seconds"].get(state.value, 0.0))
            for state in State if state not in FINAL_STATES
        ),
    )  # fmt: skip
    yield _gauge("billingd_invoices_waiting_for_readings", "Due invoices that lack readings.", document["waiting"])


def _surroundings(document: _Document) -> Iterator[Metric]:
    connected, erp = document["database"]["state"] == "connected", document["erp"]
    yield _gauge("billingd_database_up", "1 while the database answers.", float(connected))
    yield _gauge("billingd_erp_up", "1 while requests to the ERP may leave.", float(erp["state"] == "reachable"))
    yield _gauge("billingd_erp_in_flight", "Requests on their way.", erp["in_flight"] or 0)
    yield _gauge("billingd_erp_queued", "Invoices claimed for a request that has not left.", erp["queued"] or 0)
    breaker = (((state,), float(erp["breaker"] == state)) for state in BREAKER_STATES)
    yield _gauges("billingd_erp_breaker", "1 for the state the breaker is in.", ["state"], breaker)


def _tree(root: _Document) -> Iterator[Metric]:
    counts = {node["name"]: node["restarts"] for node in _nodes(root)}
    yield _counter("billingd_restarts", "Restarts of each part of the tree.", "name", counts)
    up = (((node["name"],), float(node["state"] == "up")) for node in _nodes(root))
    yield _gauges("billingd_part_up", "1 while a part of the tree is up.", ["name"], up)


def _nodes(node: _Document) -> Iterator[_Document]:
    yield node
    for child in node["children"]:
        yield from _nodes(child)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _gauges(name: str, text: str, labels: list[str], samples: Samples) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, number in samples:
        family.add_metric(list(values), number)
    return family


def _counter(name: str, text: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, number in counts.items():
        family.add_metric([value], number)
    return family
