"""The metrics for Prometheus: every gauge with its meaning, made from the status document, and what is counted.

`python -m daemon.metrics docs/metrics.md` writes the page that lists them all.
"""

import platform
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from actors.metrics import ActorMetrics
from alarming.actor import AlarmSnapshot
from billing.states import FINAL_STATES, State

BREAKER_STATES = ("closed", "open", "half-open")


@dataclass(frozen=True)
class Scrape:
    """What one answer to Prometheus is made from; `now_seconds` is the monotonic clock's."""

    document: Mapping[str, Any]
    actors: ActorMetrics
    snapshot: AlarmSnapshot
    waiting_messages: Mapping[str, int]
    now_seconds: float

    @property
    def nodes(self) -> list[Mapping[str, Any]]:
        """Every part of the tree."""
        return list(_nodes(self.document["tree"]))

    @property
    def oldest_file_seconds(self) -> float:
        since = self.actors.waiting_files.oldest_seconds
        return 0.0 if since is None else max(0.0, float(self.document["at"].timestamp()) - since)

    def period_invoices(self) -> dict[tuple[str, ...], float]:
        return {
            (each.period, state): number
            for each in self.actors.closings
            for state, number in ((State.REGISTERED, each.registered), (State.ABORTED, each.aborted))
        }


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node["children"]:
        yield from _nodes(child)


# One value, or one for the values of the labels: a text, or a tuple of texts.
_Samples = float | Mapping[Any, float]
_Family = tuple[str, str, str, Callable[[Scrape], _Samples]]

FAMILIES: Final[Mapping[str, tuple[_Family, ...]]] = {
    "The process": (
        ("billingd_up", "1 while the tree goes on.", "", lambda it: it.document["running"]),
        ("billingd_info", "What runs.", "version instance configuration_sha256", lambda it: {
            (it.document["version"], it.document["instance"], it.document["configuration"]["sha256"] or ""): 1}),
        ("billingd_build_info", "The program.", "version python",
         lambda it: {(it.document["version"], platform.python_version()): 1}),
        ("billingd_start_time_seconds", "When the daemon started.", "", lambda it: it.document["since"].timestamp()),
        ("billingd_configuration_loaded_seconds", "Since when its configuration is in force.", "",
         lambda it: it.document["configuration"]["loaded_at"].timestamp()),
        ("billingd_threads", "Threads of the process.", "", lambda _: threading.active_count()),
    ),
    "Invoices": (
        ("billingd_invoices", "Invoices in each state.", "state",
         lambda it: {state.value: it.document["invoices"].get(state.value, 0) for state in State}),
        ("billingd_invoice_oldest_seconds", "For how long the oldest invoice has stood in a state.", "state",
         lambda it: {state.value: it.document["oldest_seconds"].get(state.value, 0.0)
                     for state in State if state not in FINAL_STATES}),
        ("billingd_invoices_waiting_for_readings", "Due invoices that lack readings.", "",
         lambda it: it.document["waiting"]),
        ("billingd_period_closed_seconds", "When the last invoice of a period became final.", "period",
         lambda it: {each.period: each.closed_at.timestamp() for each in it.actors.closings}),
        ("billingd_period_invoices", "Invoices of a closed period by how they ended.", "period state",
         Scrape.period_invoices),
        ("billingd_period_total_with_tax_eur", "What is registered of a closed period.", "period",
         lambda it: {each.period: float(each.total_with_tax_eur) for each in it.actors.closings}),
    ),
    "The ERP": (
        ("billingd_erp_up", "1 while requests to the ERP may leave.", "",
         lambda it: it.document["erp"]["state"] == "reachable"),
        ("billingd_erp_breaker", "1 for the state that the circuit breaker is in.", "state",
         lambda it: {state: it.document["erp"]["breaker"] == state for state in BREAKER_STATES}),
        ("billingd_erp_in_flight", "Requests on their way.", "", lambda it: it.document["erp"]["in_flight"] or 0),
        ("billingd_erp_queued", "Invoices claimed for a request that has not left.", "",
         lambda it: it.document["erp"]["queued"] or 0),
    ),
    "The database": (
        ("billingd_database_up", "1 while the database answers.", "",
         lambda it: it.document["database"]["state"] == "connected"),
        ("billingd_database_seen_seconds", "When the invoices were last counted; 0 if never.", "",
         lambda it: it.document["database"]["seen_at"].timestamp() if it.document["database"]["seen_at"] else 0),
        ("billingd_writer_lag_seconds", "For how long the oldest write waits to be stored.", "",
         lambda it: it.actors.writer_lag_seconds(it.now_seconds)),
    ),
    "The tree": (
        ("billingd_restarts_total", "Restarts of each part of the tree.", "name",
         lambda it: {node["name"]: node["restarts"] for node in it.nodes}),
        ("billingd_part_up", "1 while a part of the tree is up.", "name",
         lambda it: {node["name"]: node["state"] == "up" for node in it.nodes}),
        ("billingd_mailbox_messages", "Messages that wait for an actor.", "name", lambda it: it.waiting_messages),
    ),
    "Alarms": (
        ("billingd_alarm_standing", "1 for each alarm that stands.", "code key severity",
         lambda it: {(each["code"], each["key"], each["severity"]): 1 for each in it.document["alarms"]}),
        ("billingd_alarms_raised_total", "Alarms raised.", "code", lambda it: it.snapshot.raised),
        ("billingd_alarm_blips_total", "Conditions that were over before an alarm was due.", "code",
         lambda it: it.snapshot.transients),
    ),
    "The inbox": (
        ("billingd_intake_waiting_files", "Files that wait in the inbox.", "",
         lambda it: it.actors.waiting_files.files),
        ("billingd_intake_waiting_bytes", "Their size.", "", lambda it: it.actors.waiting_files.size_bytes),
        ("billingd_intake_oldest_seconds", "For how long the oldest of them waits.", "",
         lambda it: it.oldest_file_seconds),
        ("billingd_intake_refused_files", "Refused files that nobody has seen to.", "",
         lambda it: it.actors.waiting_files.refused),
    ),
}  # fmt: skip
"""Name, meaning, labels and values of all that is read where it stands; what ends in `_total` is a counter."""


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

    def render(self, document: Mapping[str, Any]) -> bytes:
        scrape = Scrape(document, self._actor_metrics, self._snapshot, self._waiting_messages(), self._now())
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Families(scrape))
        return generate_latest(registry) + generate_latest(self._actor_metrics.registry)


class _Families(Collector):
    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def collect(self) -> Iterator[Metric]:
        for families in FAMILIES.values():
            for name, text, labels, samples in families:
                kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
                family = kind(name, text, labels=labels.split())
                found = samples(self._scrape)
                for values, number in (found if isinstance(found, Mapping) else {(): found}).items():
                    family.add_metric([values] if isinstance(values, str) else list(values), float(number))
                yield family


def markdown() -> str:
    """The page docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "What `/metrics` of the ops endpoint says. Made by `python -m daemon.metrics`;",
        "don't edit. A gauge follows the status, which is at most 2 s old. Counters and histograms begin with the",
        "process; those that time invoices come 5 to 10 s later, from the history.",
    ]
    for title, families in FAMILIES.items():
        lines += ["", f"## {title}", "", "| metric | labels | meaning |", "| --- | --- | --- |"]
        lines += [_row(name, labels.split(), text) for name, text, labels, _ in families]
    lines += ["", "## Counted and timed", "", "| metric | labels | meaning |", "| --- | --- | --- |"]
    for wrapper in vars(ActorMetrics()).values():
        if isinstance(wrapper, MetricWrapperBase):
            (metric,) = wrapper.describe()
            suffix = "_total" if metric.type == "counter" else ""
            text = f"{metric.documentation} A {metric.type}."
            lines.append(_row(metric.name + suffix, list(wrapper._labelnames), text))
    return "\n".join(lines) + "\n"


def _row(name: str, labels: list[str], text: str) -> str:
    return f"| `{name}` | {', '.join(f'`{label}`' for label in labels)} | {text} |"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(markdown(), "utf-8")
