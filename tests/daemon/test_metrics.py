"""The metrics: the page that lists them, and what Prometheus' own tool says of them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from prometheus_client.parser import text_string_to_metric_families

from actors.metrics import ActorMetrics
from alarming.actor import AlarmSnapshot
from billing.erp_answers import Outcome, OutcomeKind
from daemon.metrics import Metrics, markdown
from persistence.invoices.durations import Duration
from persistence.invoices.period_closing import Closing
from tests.support.prometheus import promtool
from tests.support.sample import ROOT

AT = datetime(2026, 11, 3, 12, tzinfo=UTC)
NODE = {"name": "root", "state": "up", "restarts": 1, "children": []}
DOCUMENT: dict[str, Any] = {
    "running": True, "version": "1", "instance": "one", "at": AT, "since": AT, "waiting": 1,
    "configuration": {"sha256": None, "loaded_at": AT}, "invoices": {"due": 3}, "oldest_seconds": {"due": 7.5},
    "erp": {"state": "reachable", "breaker": "closed", "in_flight": 1, "queued": None},
    "database": {"state": "connected", "seen_at": AT}, "tree": {**NODE, "children": [{**NODE, "name": "biller"}]},
    "alarms": [{"code": "erp_error", "key": "one", "severity": "major"}],
}  # fmt: skip


def scraped() -> str:
    """With a value for each metric."""
    metrics = ActorMetrics()
    metrics.answered(Outcome(OutcomeKind.BOOKED, "PUT", 200, ""))
    metrics.took(
        [Duration("2026-10", "sent", AT, 1), Duration("2026-10", "registered", AT, 2)], ZoneInfo("Europe/Zagreb")
    )
    metrics.transactions.labels("biller").observe(0.01)
    metrics.imports.labels("readings", "imported").inc()
    metrics.import_seconds.labels("readings", "imported").observe(2)
    metrics.closings = (Closing("2026-10", AT, 2, 1, Decimal(1), Decimal(1), Decimal(2)),)
    snapshot = AlarmSnapshot(transients={"erp_error": 1})
    snapshot.raised["erp_error"] += 1
    return Metrics(metrics, snapshot, lambda: {"biller": 0}, lambda: 0.0).render(DOCUMENT).decode()


def test_the_page_in_the_repository_lists_every_metric() -> None:
    page = (ROOT / "docs/metrics.md").read_text("utf-8")
    assert page == markdown(), "run `python -m daemon.metrics docs/metrics.md`"
    families = [each for each in text_string_to_metric_families(scraped()) if not each.name.startswith("process_")]
    for family in families:
        if family.name.endswith("_created"):
            continue  # the client library's own
        name = family.name + ("_total" if family.type == "counter" else "")
        row = next(line for line in page.splitlines() if f"`{name}`" in line)
        assert family.samples, f"{name} has no value here"
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels == {label for label in labels if f"`{label}`" in row}


def test_a_month_counts_from_its_end_in_the_configured_zone() -> None:
    (family,) = [
        each for each in text_string_to_metric_families(scraped()) if each.name.startswith("billingd_period_end_to")
        and each.type == "histogram"
    ]  # fmt: skip
    (total,) = [sample.value for sample in family.samples if sample.name.endswith("_sum")]
    assert total == (AT - datetime(2026, 10, 31, 23, tzinfo=UTC)).total_seconds()


def test_promtool_has_nothing_to_say_of_them() -> None:
    assert promtool("check", "metrics", given=scraped()) == ""
