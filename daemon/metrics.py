"""The metrics for Prometheus, made from the status document."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

STATES = ("due", "calculated", "sent", "initiated", "registered", "aborted", "held")


class _Status(Collector):
    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def collect(self) -> Iterator[Metric]:
        document = self._document
        yield GaugeMetricFamily("billingd_up", "1 while the daemon runs.", value=float(document["running"]))
        invoices = GaugeMetricFamily("billingd_invoices", "Invoices in each state.", labels=["state"])
        for state in STATES:
            invoices.add_metric([state], document["invoices"].get(state, 0))
        yield invoices
        there = float(document["database"]["state"] == "connected")
        yield GaugeMetricFamily("billingd_database_up", "1 while the database answers.", value=there)
        erp = document["erp"]
        up = float(erp["state"] == "reachable")
        yield GaugeMetricFamily("billingd_erp_up", "1 while requests to the ERP may leave.", value=up)
        yield GaugeMetricFamily("billingd_erp_in_flight", "Requests on their way.", value=erp["in_flight"] or 0)
        alarms = GaugeMetricFamily("billingd_alarms", "Standing alarms.", labels=["code", "severity"])
        counts: dict[tuple[str, str], int] = {}
        for alarm in document["alarms"]:
            identity = (alarm["code"], alarm["severity"])
            counts[identity] = counts.get(identity, 0) + 1
        for identity, number in counts.items():
            alarms.add_metric(list(identity), number)
        yield alarms
        restarts = CounterMetricFamily("billingd_restarts", "Restarts of each part of the tree.", labels=["name"])
        for node in _nodes(document["tree"]):
            restarts.add_metric([node["name"]], node["restarts"])
        yield restarts


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node["children"]:
        yield from _nodes(child)


def render(document: dict[str, Any]) -> str:
    """The text that Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(_Status(document))
    return generate_latest(registry).decode("utf-8")
