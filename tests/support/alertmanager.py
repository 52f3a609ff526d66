"""Debian's Alertmanager, and a receiver that stands in for it and checks what it gets against the API's description."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from testkit.ports import free_port
from testkit.waiting import wait_until
from tests.support.json_schema import problems

_DESCRIPTION = yaml.safe_load((Path(__file__).parents[1] / "data" / "alertmanager-v2-alerts.yaml").read_text("utf-8"))


class Alertmanager:
    """Listens on the loopback. `status` is what it answers, `delay` an event that it waits for before it does."""

    def __init__(self, port: int = 0) -> None:
        self.status = 200
        self.delay: threading.Event | None = None
        self.posts: list[list[dict[str, Any]]] = []
        self.tokens: list[str | None] = []
        self.wrong: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.receive(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def receive(self, request: BaseHTTPRequestHandler) -> None:
        """Takes one POST."""
        body = request.rfile.read(int(request.headers["Content-Length"]))
        if self.delay is not None:
            self.delay.wait(30)
        alerts = json.loads(body)
        operation = _DESCRIPTION["paths"]["/alerts"]["post"]
        content = operation["requestBody"]["content"]
        if (
            request.path != _DESCRIPTION["servers"][0]["url"] + "/alerts"
            or request.headers["Content-Type"] not in content
        ):
            self.wrong.append(f"{request.path} {request.headers['Content-Type']}")
        else:
            self.wrong += problems(_DESCRIPTION, content[request.headers["Content-Type"]]["schema"], alerts)
        self.tokens.append(request.headers.get("Authorization"))
        if self.status == 200:
            self.posts.append(alerts)
        request.send_response(self.status)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def active(self, now: datetime) -> set[str]:
        """The alerts that fire for it: of each set of labels the last word counts."""
        ends = {json.dumps(a["labels"], sort_keys=True): a for alerts in self.posts for a in alerts}
        return {a["labels"]["alertname"] for a in ends.values() if datetime.fromisoformat(a["endsAt"]) > now}

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def real_alertmanager(
    home: Path, config: str = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"
) -> Iterator[str]:
    """The URL of Debian's Alertmanager, which tells nobody; skips the test where there is none."""
    own = (f"--storage.path={home}/data", "--cluster.listen-address=")
    with debian_program("prometheus-alertmanager", home, config, *own) as url:
        yield url


@contextmanager
def debian_program(name: str, home: Path, config: str, *arguments: str) -> Iterator[str]:
    """The URL of Alertmanager or Prometheus below `home`; skips the test where there is none.

    Debian's keep their data in /var/lib unless an argument says otherwise, where one run would see another's.
    """
    program = shutil.which(name) or pytest.skip(f"{name} is not installed")
    home.mkdir(exist_ok=True)
    (home / "config.yml").write_text(config)
    url = f"http://127.0.0.1:{free_port()}"
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [program, f"--config.file={home}/config.yml", f"--web.listen-address={url.removeprefix('http://')}",
             *arguments],
            stdout=log, stderr=log, cwd=home,
        )  # fmt: skip
    try:
        wait_until(lambda: _answers(url), what=f"{name} listens")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=2).is_success
    except httpx.HTTPError:
        return False


def active(url: str) -> set[str]:
    """The alerts that fire, by the real one's API."""
    return {each["labels"]["alertname"] for each in alerts(url)}


def alerts(url: str) -> list[dict[str, Any]]:
    """The same with all that it knows of them."""
    found: list[dict[str, Any]] = json.loads(httpx.get(f"{url}/api/v2/alerts?active=true", timeout=5).text)
    return found
