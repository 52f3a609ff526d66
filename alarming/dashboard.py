"""The dashboard for Grafana: a row for each question an operator has, as a short table of panels and their queries."""

from pathlib import Path
from typing import Any, Final

import yaml

_PER_ROW, _WIDTH, _HEIGHT = 3, 8, 7
_JOB = 'job="$job"'
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}

PANELS: Final[dict[str, list[tuple[str, str, str, str]]]] = yaml.safe_load(
    Path(__file__).with_suffix(".yaml").read_text("utf-8")
)
"""By row, as dashboard.yaml says."""


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
