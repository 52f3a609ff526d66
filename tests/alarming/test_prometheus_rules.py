"""The rules for Prometheus, by its own tool: each alert fires for its series, and no other one does."""

from pathlib import Path
from typing import Any

import yaml

from alarming.catalogue import CATALOGUE
from alarming.documents import main
from alarming.prometheus import rules
from drills.table import FAILURES, make
from tests.alarming.recorded_alarms import RECORDED
from tests.support.prometheus import promtool
from tests.support.sample import ROOT

UP = {"series": 'up{job="billingd", instance="one"}', "values": "1x10"}
WATCHDOG = {"alertname": "BillingdWatchdog", "severity": "none"}


def firing(*alerts: dict[str, str]) -> list[dict[str, Any]]:
    """What the query for all that fires gives."""
    return [
        {"labels": "ALERTS{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}", "value": 1}
        for labels in ({"alertstate": "firing", **each} for each in (WATCHDOG, *alerts))
    ]


def cell(name: str, series: list[dict[str, str]], expected: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """All that fires, at each of these times."""
    query = 'ALERTS{alertstate="firing"}'
    asked = [{"expr": query, "eval_time": at, "exp_samples": samples} for at, samples in expected.items()]
    return {"name": name, "interval": "1m", "input_series": series, "promql_expr_test": asked}


def alert(code: str, key: str) -> dict[str, str]:
    """The labels of a code's alert."""
    return {"alertname": f"billingd_{code}", "code": code, "key": key, "severity": CATALOGUE[code].severity.value}


def standing(code: str) -> dict[str, Any]:
    """The alarm stands from the second to the fourth minute."""
    severity = CATALOGUE[code].severity.value
    series = f'billingd_alarm_standing{{job="billingd", instance="one", code="{code}", key="k", severity="{severity}"}}'
    values = {"series": series, "values": "_x2 1x2 stale"}
    return cell(code, [UP, values], {"1m": firing(), "3m": firing(alert(code, "k")), "6m": firing()})


SILENT = {"alertname": "billingd_silent", "severity": "critical", "job": "billingd"}
DOWN = {"2m": firing(), "4m": firing({**SILENT, "instance": "one"})}
SILENCES = [
    cell("it does not answer", [{**UP, "values": "1 0x10"}], DOWN),
    cell(
        "its tree has ended", [UP, {"series": 'billingd_up{job="billingd", instance="one"}', "values": "1 0x10"}], DOWN
    ),
    cell("nobody scrapes it", [], {"1m": firing(), "3m": firing(SILENT)}),
]


def test_each_alert_fires_for_its_alarm_and_no_other_one_does(tmp_path: Path) -> None:
    main(str(tmp_path), "prometheus-rules.yaml")
    assert "SUCCESS" in promtool("check", "rules", str(tmp_path / "prometheus-rules.yaml"))
    tests = [*map(standing, CATALOGUE), *SILENCES]
    document = {"rule_files": ["prometheus-rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(document), "utf-8")
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "tests.yaml"))


def test_there_is_an_alert_for_each_code_and_each_says_where_to_read_on() -> None:
    alerts = {each["alert"]: each for each in rules()["groups"][1]["rules"]}
    assert alerts.keys() == {f"billingd_{code}" for code in CATALOGUE} | {"billingd_silent", "BillingdWatchdog"}
    for alert in alerts.values():
        assert alert["labels"]["severity"] in {"critical", "major", "minor", "warning", "none"}
        assert alert["annotations"]["action"]
        page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        headings = {line[3:].lower().replace(" ", "-") for line in (ROOT / page).read_text("utf-8").splitlines()}
        assert not anchor or anchor in headings


def test_what_alerts_in_a_cell_of_the_drill_is_what_its_log_says(tmp_path: Path) -> None:
    main(str(tmp_path), "prometheus-rules.yaml")
    recorded = yaml.safe_load(RECORDED.read_text("utf-8"))
    tests = []
    for name, each in recorded.items():
        series = [{"series": at_target(metric), "values": values} for metric, values in each["series"].items()]
        expected = {
            f"{15 * number}s": firing(*(alert(code, key) for code, key in stands))
            for number, stands in each["standing"].items()
        }
        tests.append({**cell(name, series, expected), "interval": "15s"})
    document = {"rule_files": ["prometheus-rules.yaml"], "evaluation_interval": "15s", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(document), "utf-8")
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "tests.yaml"))
    stood = {code for each in recorded.values() for stands in each["standing"].values() for code, _ in stands}
    told = {code for failure, variants in FAILURES.items() for each in variants for code in make(failure, each).codes}
    assert told <= stood, "record them: python -m tests.alarming.recorded_alarms"


def at_target(metric: str) -> str:
    """The metric with the labels that Prometheus adds."""
    name, _, labels = metric.removesuffix("}").partition("{")
    return f'{name}{{job="billingd", instance="one"{", " + labels if labels else ""}}}'
