"""Debian's Prometheus as a process of a test's own, what it answers, and its tool."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.alertmanager import debian_program


@contextmanager
def prometheus(home: Path, configuration: dict[str, Any]) -> Iterator[str]:
    """The URL of a Prometheus that looks each second, at what the configuration says."""
    often = {**configuration, "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}}
    # It finds its Alertmanagers 5 s after its start, and sends what it had for them before only with the next reminder.
    own = (f"--storage.tsdb.path={home}/data", "--rules.alert.resend-delay=1s")
    with debian_program("prometheus", home, yaml.safe_dump(often), *own) as url:
        yield url


def query(url: str, expression: str) -> list[dict[str, Any]]:
    """What a query gives now, a sample each."""
    answer = httpx.get(f"{url}/api/v1/query", params={"query": expression}, timeout=5).json()
    assert answer["status"] == "success", f"{expression}: {answer}"
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def promtool(*arguments: str, given: str | None = None) -> str:
    """What the tool says; it has to be content. Skips the test where there is none."""
    program = shutil.which("promtool") or pytest.skip("prometheus is not installed")
    done = subprocess.run([program, *arguments], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
