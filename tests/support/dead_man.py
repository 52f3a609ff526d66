"""A dead-man's switch as a test's receiver of heartbeats: it speaks up when none has come for a while."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from testkit.waiting import wait_until


class DeadManSwitch:
    """Listens on an address of this machine; `within_seconds` is how long it waits for the next heartbeat."""

    def __init__(self, within_seconds: float, host: str = "127.0.0.1") -> None:
        self.status = 200
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self._within_seconds = within_seconds
        self._last_seconds = float("-inf")
        switch = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                switch.requests.append((self.command, self.path))
                if switch.status == 200:
                    switch._last_seconds = time.monotonic()
                self.send_response(switch.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_POST(self) -> None:
                switch.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.do_GET()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                """Says nothing."""

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_address[1]}/ping/s3cret"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def speaks_up(self) -> bool:
        return time.monotonic() - self._last_seconds > self._within_seconds

    def wait_until_quiet(self) -> None:
        wait_until(lambda: not self.speaks_up, what="a heartbeat comes")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
