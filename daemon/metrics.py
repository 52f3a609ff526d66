"""The metrics for Prometheus: how things stand, and what the actors have counted."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from actors.meters import Meters
from alarming.actor import AlarmSnapshot
from billing.states import FINAL_STATES, State
from persistence.closings import Closing

BREAKER_STATES = ("closed", "open", "half-open")


class Metrics:
    """Renders a status document together with the counters; it waits for nobody."""

    CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(
        self,
        meters: Meters,
        snapshot: AlarmSnapshot,
        waiting_messages: Callable[[], Mapping[str, int]],
        now: Callable[[], float],
    ) -> None:
        """`now` is the monotonic clock, in seconds."""
        self._meters = meters
        self._snapshot = snapshot
        self._waiting_messages = waiting_messages
        self._now = now

    def render(self, document: Mapping[str, Any]) -> bytes:
        """The text that Prometheus reads."""
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Families(lambda: self._collect(document)))
        return generate_latest(registry)

    def _collect(self, document: Mapping[str, Any]) -> Iterator[Metric]:
        yield from _daemon(document)
        yield from _invoices(document)
        yield from _surroundings(document)
        yield from self._meters.requests.collect()
        lag = self._meters.writer_lag_seconds(self._now())
        yield _gauge("billingd_writer_lag_seconds", "For how long the oldest write waits to be stored.", lag)
        waiting = GaugeMetricFamily("billingd_mailbox_messages", "Messages that wait for an actor.", labels=["name"])
        for name, number in self._waiting_messages().items():
            waiting.add_metric([name], number)
        yield waiting
        yield from _closings(self._meters.closings)
        yield from _tree(document["tree"])
        yield from self._alarms(document)

    def _alarms(self, document: Mapping[str, Any]) -> Iterator[Metric]:
        labels = ["code", "key", "severity"]
        standing = GaugeMetricFamily("billingd_alarm_standing", "1 for each alarm that stands.", labels=labels)
        for alarm in document["alarms"]:
            standing.add_metric([alarm[label] for label in labels], 1)
        yield standing
        yield _counter("billingd_alarms_raised", "Alarms raised.", "code", self._snapshot.raised)
        yield _counter(
            "billingd_alarm_blips", "Troubles over before an alarm was due.", "code", self._snapshot.transients
        )


class _Families(Collector):
    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        return self._collect()


def _daemon(document: Mapping[str, Any]) -> Iterator[Metric]:
    yield _gauge("billingd_up", "1 while the tree goes on.", float(document["running"]))
    about = GaugeMetricFamily("billingd_info", "What runs.", labels=["version", "instance", "configuration_sha256"])
    about.add_metric([document["version"], document["instance"], document["configuration"]["sha256"] or ""], 1)
    yield about
    loaded_at: datetime = document["configuration"]["loaded_at"]
    yield _gauge("billingd_start_time_seconds", "When the daemon started.", document["since"].timestamp())
    yield _gauge("billingd_configuration_loaded_seconds", "Since when its file is in force.", loaded_at.timestamp())
    yield _gauge("billingd_threads", "Threads of the process.", threading.active_count())


def _invoices(document: Mapping[str, Any]) -> Iterator[Metric]:
    invoices = GaugeMetricFamily("billingd_invoices", "Invoices in each state.", labels=["state"])
    for state in State:
        invoices.add_metric([state.value], document["invoices"].get(state.value, 0))
    yield invoices
    oldest = GaugeMetricFamily(
        "billingd_invoice_oldest_seconds", "For how long the oldest invoice has stood in a state.", labels=["state"]
    )
    for state in State:
        if state not in FINAL_STATES:
            oldest.add_metric([state.value], document["oldest_seconds"].get(state.value, 0.0))
    yield oldest
    yield _gauge("billingd_invoices_waiting_for_readings", "Due invoices that lack readings.", document["waiting"])


def _surroundings(document: Mapping[str, Any]) -> Iterator[Metric]:
    there = float(document["database"]["state"] == "connected")
    yield _gauge("billingd_database_up", "1 while the database answers.", there)
    erp = document["erp"]
    up = float(erp["state"] == "reachable")
    yield _gauge("billingd_erp_up", "1 while requests to the ERP may leave.", up)
    yield _gauge("billingd_erp_in_flight", "Requests on their way.", erp["in_flight"] or 0)
    yield _gauge("billingd_erp_queued", "Invoices claimed for a request that has not left.", erp["queued"] or 0)
    breaker = GaugeMetricFamily("billingd_erp_breaker", "1 for the state the breaker is in.", labels=["state"])
    for state in BREAKER_STATES:
        breaker.add_metric([state], float(erp["breaker"] == state))
    yield breaker


def _closings(closings: Sequence[Closing]) -> Iterator[Metric]:
    closed = GaugeMetricFamily(
        "billingd_period_closed_seconds", "When the last invoice of a period became final.", labels=["period"]
    )
    number = GaugeMetricFamily(
        "billingd_period_invoices", "Invoices of a closed period by how they ended.", labels=["period", "state"]
    )
    total = GaugeMetricFamily(
        "billingd_period_total_with_tax_eur", "What is registered of a closed period.", labels=["period"]
    )
    for each in closings:
        closed.add_metric([each.period], each.closed_at.timestamp())
        number.add_metric([each.period, "registered"], each.registered)
        number.add_metric([each.period, "aborted"], each.aborted)
        total.add_metric([each.period], float(each.total_with_tax_eur))
    yield from (closed, number, total)


def _tree(root: Mapping[str, Any]) -> Iterator[Metric]:
    counts = {node["name"]: node["restarts"] for node in _nodes(root)}
    yield _counter("billingd_restarts", "Restarts of each part of the tree.", "name", counts)
    up = GaugeMetricFamily("billingd_part_up", "1 while a part of the tree is up.", labels=["name"])
    for node in _nodes(root):
        up.add_metric([node["name"]], float(node["state"] == "up"))
    yield up


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node["children"]:
        yield from _nodes(child)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, label: str, counts: Mapping[str, int] | Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, number in counts.items():
        family.add_metric([value], number)
    return family
