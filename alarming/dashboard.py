"""The dashboard for Grafana: a row for each question an operator has, as a short table of panels and their queries."""

from collections.abc import Mapping
from typing import Any, Final

_PER_ROW, _WIDTH, _HEIGHT = 3, 8, 7
_JOB = 'job="$job"'
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}

# By row: title, unit, query, and the name of each line. In a query `JOB` stands for the job that is chosen on the page.
PANELS: Final[Mapping[str, tuple[tuple[str, str, str, str], ...]]] = {
    "Verdict": (
        ("Daemon", "bool_yes_no", "billingd_up{JOB}", "{{instance}}"),
        ("Alarms that stand", "short",
         "count by (job) (billingd_alarm_standing{JOB}) or 0 * max by (job) (billingd_up{JOB})", "alarms"),
        ("Program", "short", "billingd_build_info{JOB}", "{{instance}}: {{version}}, Python {{python}}"),
    ),
    "Pipeline": (
        ("Invoices by state", "short", "job_state:billingd_invoices:max{JOB}", "{{state}}"),
        ("Oldest by state", "s", "job_state:billingd_invoice_oldest_seconds:max{JOB}", "{{state}}"),
        ("Wait for readings", "short", "billingd_invoices_waiting_for_readings{JOB}", "{{instance}}"),
        ("Wait for a courier, 95 %", "s", "job:billingd_queue_wait_seconds:p95_1h{JOB}", "wait"),
        ("Delivery by outcome, 95 %", "s", "job_outcome:billingd_delivery_seconds:p95_1h{JOB}", "{{outcome}}"),
        ("Period's end to booking, mean", "s", "billingd_period_end_to_registered_seconds_sum{JOB}"
         " / billingd_period_end_to_registered_seconds_count{JOB}", "{{instance}}"),
    ),
    "ERP": (
        ("Requests may leave", "bool_yes_no", "billingd_erp_up{JOB}", "{{instance}}"),
        ("Circuit breaker", "bool_yes_no", "billingd_erp_breaker{JOB}", "{{instance}} {{state}}"),
        ("Requests by outcome", "reqps", "job_outcome:billingd_erp_requests:rate5m{JOB}", "{{method}} {{outcome}}"),
        ("Request, 95 %", "s", "job:billingd_erp_request_seconds:p95_5m{JOB}", "request"),
        ("On their way", "short", "billingd_erp_in_flight{JOB}", "{{instance}}"),
        ("Claimed, not sent", "short", "billingd_erp_queued{JOB}", "{{instance}}"),
    ),
    "Database": (
        ("Answers", "bool_yes_no", "billingd_database_up{JOB}", "{{instance}}"),
        ("Transaction, 95 %", "s", "job_name:billingd_database_transaction_seconds:p95_5m{JOB}", "{{name}}"),
        ("Oldest write that waits", "s", "billingd_writer_lag_seconds{JOB}", "{{instance}}"),
    ),
    "Tree": (
        ("Restarts in an hour", "short", "topk(5, increase(billingd_restarts_total{JOB}[1h]))", "{{name}}"),
        ("Parts that are not up", "short", "sum by (instance) (1 - billingd_part_up{JOB})", "{{instance}}"),
        ("Messages that wait", "short", "billingd_mailbox_messages{JOB}", "{{name}}"),
    ),
    "Alarms": (
        ("Standing", "short", "count by (code, severity) (billingd_alarm_standing{JOB})", "{{severity}} {{code}}"),
        ("Raised in an hour", "short", "increase(billingd_alarms_raised_total{JOB}[1h])", "{{code}}"),
        ("Over before an alarm was due", "short", "increase(billingd_alarm_blips_total{JOB}[1h])", "{{code}}"),
    ),
    "Intake": (
        ("Files that wait", "short", "billingd_intake_waiting_files{JOB}", "{{instance}}"),
        ("Oldest file", "s", "billingd_intake_oldest_seconds{JOB}", "{{instance}}"),
        ("Refused files", "short", "billingd_intake_refused_files{JOB}", "{{instance}}"),
        ("Files in an hour", "short", "increase(billingd_imports_total{JOB}[1h])", "{{kind}} {{state}}"),
        ("Import, mean", "s", "billingd_import_seconds_sum{JOB} / billingd_import_seconds_count{JOB}",
         "{{kind}} {{state}}"),
        ("Rows in an hour", "short", "increase(billingd_imported_rows_total{JOB}[1h])", "{{instance}}"),
    ),
}  # fmt: skip


def dashboard() -> dict[str, Any]:
    """The document that Grafana imports; data source and job are chosen on its page."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row, described in PANELS.items():
        panels.append({"type": "row", "title": row, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []})
        for place, panel in enumerate(described):
            x, down = place % _PER_ROW * _WIDTH, place // _PER_ROW * _HEIGHT
            position = {"x": x, "y": y + 1 + down, "w": _WIDTH, "h": _HEIGHT}
            panels.append({"type": "stat" if row == "Verdict" else "timeseries", "gridPos": position, **_panel(*panel)})
        y += 1 + -(-len(described) // _PER_ROW) * _HEIGHT
    source = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"}
    job = {"type": "query", "name": "job", "label": "Job", "datasource": _SOURCE, "refresh": 2,
           "query": "label_values(billingd_up, job)"}  # fmt: skip
    return {
        "uid": "billingd", "title": "billingd", "tags": ["billingd"], "schemaVersion": 37, "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"}, "templating": {"list": [source, job]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, 1)],
    }  # fmt: skip


def _panel(title: str, unit: str, query: str, legend: str) -> dict[str, Any]:
    expression = query.replace("JOB", _JOB)
    return {
        "title": title, "datasource": _SOURCE, "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [{"refId": "A", "datasource": _SOURCE, "expr": expression, "legendFormat": legend}],
    }  # fmt: skip
