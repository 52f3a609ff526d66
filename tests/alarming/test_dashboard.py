"""The dashboard: Grafana's structure, and data for each query from a Prometheus that scrapes a daemon."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from actors.metrics import ActorMetrics
from alarming.dashboard import PANELS, dashboard
from alarming.documents import main
from alarming.prometheus import RECORDED
from daemon.metrics import FAMILIES
from testkit.ports import free_port
from testkit.waiting import wait_until
from tests.support.inbox_deployment import InboxDeployment
from tests.support.prometheus import prometheus, query
from tests.support.sample import SAMPLE

ROWS = ["Verdict", "Pipeline", "ERP", "Database", "Tree", "Alarms", "Intake"]
COLUMNS = 24


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[at] < other[at] + other[size] and other[at] < one[at] + one[size] for at, size in (("x", "w"), ("y", "h"))
    )


def test_the_document_is_what_grafana_imports() -> None:
    document: dict[str, Any] = json.loads(json.dumps(dashboard()))
    panels = document["panels"]
    assert isinstance(document["schemaVersion"], int)
    assert document["uid"]
    assert document["title"]
    assert [each["title"] for each in panels if each["type"] == "row"] == ROWS == list(PANELS)
    assert len({each["id"] for each in panels}) == len(panels)
    assert all(place["x"] + place["w"] <= COLUMNS for place in (each["gridPos"] for each in panels))
    assert not [pair for pair in combinations([each["gridPos"] for each in panels], 2) if overlap(*pair)]
    variables = {each["name"]: each for each in document["templating"]["list"]}
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    assert variables["job"]["datasource"] == source
    for panel in (each for each in panels if each["type"] != "row"):
        assert panel["type"] in {"stat", "timeseries"}
        assert panel["datasource"] == source
        assert panel["fieldConfig"]["defaults"]["unit"] in {"bool_yes_no", "reqps", "s", "short"}
        (target,) = panel["targets"]
        assert (target["refId"], target["datasource"]) == ("A", source)
        assert 'job="$job"' in target["expr"]
        assert "JOB" not in target["expr"]


def test_each_panel_reads_what_is_there() -> None:
    gauges = {name for families in FAMILIES.values() for name, *_ in families}
    counted = {metric.name for metric in ActorMetrics().registry.collect()}
    known = gauges | {f"{name}{suffix}" for name in counted for suffix in ("_total", "_sum", "_count")}
    asked = {
        name
        for panels in PANELS.values()
        for _, _, query_text, _ in panels
        for name in re.findall(r"[a-z_]*:?billingd_[a-z0-9_]+(?::[a-z0-9_]+)?", query_text)
    }
    assert asked - known - set(RECORDED) == set()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_each_query_returns_data_of_a_daemon_that_billed_and_failed(tmp_path: Path, database_url: str) -> None:
    main(str(tmp_path), "prometheus-rules.yaml")
    address = f"127.0.0.1:{free_port()}"
    settings = {
        "erp": {"poll_interval_seconds": 0.2, "retry": {"base_seconds": 0.1, "max_seconds": 1}},
        "ops": {"listen": address}, "alarms": {"raise_within_seconds": 15},
    }  # fmt: skip
    configuration = {
        "rule_files": [f"{tmp_path}/prometheus-rules.yaml"],
        "scrape_configs": [{"job_name": "billingd", "static_configs": [{"targets": [address]}]}],
    }
    deployment = InboxDeployment(tmp_path / "home", database_url=database_url, settings=settings)
    expressions = [
        (panel["title"], target["expr"].replace("$job", "billingd"))
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
    ]
    try:
        with prometheus(tmp_path / "prometheus", configuration) as url:
            deployment.erp.start()
            deployment.daemon.start(wait=False)  # it listens on TCP only
            deployment.drop(SAMPLE / "master.yaml")
            wait_until(lambda: deployment.done("master.yaml"))
            deployment.drop("no readings\n")  # refused: its alarm stands
            deployment.erp.add_fault(kind="status", status=503, remaining=1)  # over before an alarm is due
            for number, month in enumerate(("08", "09", "10"), 1):
                deployment.drop(SAMPLE / f"readings-2026-{month}.csv.gz")
                wait_until(lambda number=number: deployment.counts().get("registered") == 12 * number)  # type: ignore[misc]

            def empty() -> list[tuple[str, str]]:
                return [
                    each for each in expressions if all(found["value"][1] == "NaN" for found in query(url, each[1]))
                ]

            try:
                wait_until(lambda: not empty(), within_seconds=40, every_seconds=1)
            finally:
                for title, expression in expressions:
                    print(f"{len(query(url, expression)):3} series  {title}: {expression}")
                print("without data:", [title for title, _ in empty()])
    finally:
        deployment.close()
