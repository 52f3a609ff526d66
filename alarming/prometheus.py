"""The rules for Prometheus: what the dashboard reads recorded, an alert for each code, and one that always fires."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from alarming.catalogue import CATALOGUE, Entry

RUNBOOKS = "docs/alarms.md"
"""Where a code's entry is read; to be replaced by the address where it is published."""


_DOCUMENT = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
RECORDED: Final[Mapping[str, str]] = _DOCUMENT["recorded"]
"""Expressions by the name of what they are recorded as."""


def rules() -> dict[str, Any]:
    """The file of rules as a document."""
    recorded = [{"record": name, "expr": expression} for name, expression in RECORDED.items()]
    return {
        "groups": [
            {"name": "billingd-recorded", "rules": recorded},
            {"name": "billingd", "rules": [*map(_alert, CATALOGUE.values()), *_DOCUMENT["alerts"]]},
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
