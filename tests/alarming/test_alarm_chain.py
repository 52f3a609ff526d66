"""The chain of each alarm: raised, scraped and judged by a real Prometheus, told to a real Alertmanager, and ended."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CONTENT_TYPE_LATEST

from actors.metrics import ActorMetrics
from alarming.catalogue import CATALOGUE, Code
from alarming.conditions import ConditionActive, ConditionCleared
from alarming.documents import main
from alarming.formats import to_json
from daemon.metrics import Metrics
from testkit.waiting import pause
from tests.alarming.alarm_tree import AlarmTree
from tests.daemon.test_metrics import DOCUMENT
from tests.support.alertmanager import active, real_alertmanager
from tests.support.prometheus import prometheus

# A scrape, an evaluation and what the machine adds; what is over is told with the next evaluation.
CHAIN_SECONDS = 20.0
EVERYTHING = {"billingd_" + code for code in CATALOGUE}


def waves() -> list[list[str]]:
    """The codes, together as far as none mutes another."""
    found: list[list[str]] = []
    for code in CATALOGUE:
        for wave in found:
            if not any(code in CATALOGUE.muted_by[each] or each in CATALOGUE.muted_by[code] for each in wave):
                wave.append(code)
                break
        else:
            found.append([code])
    return found


@pytest.fixture
def alarms(tmp_path: Path) -> Iterator[AlarmTree]:
    tree = AlarmTree(tmp_path / "alarms.jsonl")
    tree.start(None)
    yield tree
    tree.stop()


@pytest.fixture
def scraped(alarms: AlarmTree) -> Iterator[str]:
    """The address at which the metrics of what stands are read."""
    metrics = Metrics(ActorMetrics(), alarms.snapshot, dict, time.monotonic)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            standing = [to_json(each) for each in alarms.snapshot.standing]
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST)
            self.end_headers()
            self.wfile.write(metrics.render({**DOCUMENT, "alarms": standing}))

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def seconds_until(expected: set[str], url: str, *, fires: bool) -> dict[str, float]:
    """After how long each alert fires at the Alertmanager, or does no more."""
    began, seen = time.monotonic(), dict[str, float]()
    while expected - seen.keys():
        after_seconds, fire = time.monotonic() - began, active(url)
        for name in expected - seen.keys():
            if (name in fire) == fires:
                seen[name] = after_seconds
        missing = sorted(expected - seen.keys())
        assert after_seconds < CHAIN_SECONDS, (
            f"after {after_seconds:.1f} s not {'firing' if fires else 'over'}: {missing}"
        )
        pause(0.1)
    return seen


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_alarm_reaches_the_alertmanager_through_prometheus_and_ends(
    alarms: AlarmTree, scraped: str, tmp_path: Path
) -> None:
    main(str(tmp_path), "prometheus-rules.yaml")
    with real_alertmanager(tmp_path / "alertmanager") as url:
        configuration = {
            "rule_files": [f"{tmp_path}/prometheus-rules.yaml"],
            "scrape_configs": [{"job_name": "billingd", "static_configs": [{"targets": [scraped]}]}],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [url.removeprefix("http://")]}]}]},
        }
        with prometheus(tmp_path / "prometheus", configuration):
            seconds_until({"BillingdWatchdog"}, url, fires=True)
            took: dict[str, tuple[float, float]] = {}
            for wave in waves():
                names = {f"billingd_{code}" for code in wave}
                for code in wave:
                    alarms.tell(ConditionActive(Code(code), "so that it stands", immediately=True))
                raised = seconds_until(names, url, fires=True)
                assert active(url) & EVERYTHING == names
                for code in wave:
                    alarms.tell(ConditionCleared(Code(code)))
                over = seconds_until(names, url, fires=False)
                took |= {name: (raised[name], over[name]) for name in names}
            assert active(url) == {"BillingdWatchdog"}
    for name in sorted(took):
        print(f"{name:36} fires after {took[name][0]:4.1f} s, is over after {took[name][1]:4.1f} s")
    assert took.keys() == EVERYTHING
