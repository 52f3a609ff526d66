"""The rules for Prometheus: what the dashboard reads recorded, an alert for each code, and one that always fires."""

from collections.abc import Mapping
from typing import Any, Final

from alarming.catalogue import CATALOGUE, Entry

RUNBOOKS = "docs/alarms.md"
"""Where a code's entry is read; to be replaced by the address where it is published."""


def _quantile(share: str, metric: str, window: str, *labels: str) -> str:
    by = ", ".join(("job", *labels, "le"))
    return f"histogram_quantile({share}, sum by ({by}) (rate({metric}_bucket[{window}])))"


# Several daemons on one database count the same invoices, so their counts are no sum.
RECORDED: Final[Mapping[str, str]] = {
    "job_state:billingd_invoices:max": "max by (job, state) (billingd_invoices)",
    "job_state:billingd_invoice_oldest_seconds:max": "max by (job, state) (billingd_invoice_oldest_seconds)",
    "job_outcome:billingd_erp_requests:rate5m":
        "sum by (job, method, outcome) (rate(billingd_erp_request_seconds_count[5m]))",
    "job:billingd_erp_request_seconds:p95_5m": _quantile("0.95", "billingd_erp_request_seconds", "5m"),
    "job:billingd_queue_wait_seconds:p95_1h": _quantile("0.95", "billingd_queue_wait_seconds", "1h"),
    "job_outcome:billingd_delivery_seconds:p95_1h": _quantile("0.95", "billingd_delivery_seconds", "1h", "outcome"),
    "job_name:billingd_database_transaction_seconds:p95_5m":
        _quantile("0.95", "billingd_database_transaction_seconds", "5m", "name"),
}  # fmt: skip
"""Expressions by the name of what they are recorded as."""


def rules() -> dict[str, Any]:
    """The file of rules as a document."""
    recorded = [{"record": name, "expr": expression} for name, expression in RECORDED.items()]
    return {
        "groups": [
            {"name": "billingd-recorded", "rules": recorded},
            {"name": "billingd", "rules": [*map(_alert, CATALOGUE.values()), _SILENT, _WATCHDOG]},
        ]
    }


def _alert(entry: Entry) -> dict[str, Any]:
    return {
        "alert": f"billingd_{entry.code}",
        "expr": f'max by (code, key, severity) (billingd_alarm_standing{{code="{entry.code}"}}) > 0',
        "labels": {"severity": entry.severity.value},
        "annotations": {
            "summary": f"{entry.english.title} ({{{{ $labels.key }}}})",
            "description": f"{entry.english.meaning} {entry.english.effect}",
            "action": entry.english.action,
            "runbook_url": f"{RUNBOOKS}#{entry.code}",
        },
    }


_SILENT = {
    "alert": "billingd_silent",
    "expr": 'up{job="billingd"} == 0 or absent(up{job="billingd"}) or billingd_up == 0',
    "for": "2m",
    "labels": {"severity": "critical"},
    "annotations": {
        "summary": "billingd does not answer",
        "description": "The daemon is not running, its tree has ended, or its ops address cannot be reached.",
        "action": "`systemctl status billingd` and `journalctl -u billingd` on its machine.",
        "runbook_url": "docs/operations.md",
    },
}
_WATCHDOG = {
    "alert": "BillingdWatchdog",
    "expr": "vector(1)",
    "labels": {"severity": "none"},
    "annotations": {
        "summary": "Prometheus and Alertmanager work",
        "description": "It always fires. Route it to a dead-man's switch, which tells somebody when it comes no more.",
        "action": "Nothing while it fires.",
        "runbook_url": f"{RUNBOOKS}#where-alarms-go",
    },
}
