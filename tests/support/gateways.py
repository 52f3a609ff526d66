"""Gateways that post a month of quarter hours in pieces, in any order, some twice, until each was answered 202."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from drills.workload import Workload
from tests.support.small_load import HEADER

TOKEN = "of-the-gateways-of-tests"
RETRY_SECONDS = 0.2


def intake_settings(home: Path) -> dict[str, Any]:
    """An inbox and an endpoint on a socket in `home`."""
    (home / "inbox").mkdir(parents=True, exist_ok=True)
    (home / "intake-token").write_text(TOKEN)
    return {
        "inbox": str(home / "inbox"),
        "settle_seconds": 0.1,
        "listen": f"unix:{home}/intake.sock",
        "token_file": str(home / "intake-token"),
    }


class Gateways:
    """Each user's meters are a gateway's. `latencies`: seconds of each post that was taken; `failures`: the others."""

    def __init__(self, home: Path, workload: Workload, seed: int, rows_a_piece: int = 100) -> None:
        chance = random.Random(seed)
        self.pieces: list[str] = []
        self.rows = 0
        self.latencies: list[float] = []
        self.failures = 0
        for user in range(1, workload.users + 1):
            lines = workload.quarter_hours(user)
            self.rows += len(lines)
            chunks = [lines[at : at + rows_a_piece] for at in range(0, len(lines), rows_a_piece)]
            self.pieces += [HEADER + "".join(chunk) for chunk in chunks]
        self.pieces += chance.sample(self.pieces, len(self.pieces) // 10)
        chance.shuffle(self.pieces)
        self._socket = f"{home}/intake.sock"
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def post_all(self, at_once: int, meanwhile: Callable[[], object] = lambda: None) -> float:
        """Posts every piece; gives how long that took, in seconds. `meanwhile` runs beside it."""
        began = time.monotonic()
        with ThreadPoolExecutor(at_once) as pool:
            posts = [pool.submit(self._post_some, self.pieces[number::at_once]) for number in range(at_once)]
            meanwhile()
            for post in posts:
                post.result()
        return time.monotonic() - began

    def has_posted(self, number: int) -> bool:
        """Whether so many posts were taken."""
        return len(self.latencies) >= number

    def _post_some(self, pieces: Sequence[str]) -> None:
        transport = httpx.HTTPTransport(uds=self._socket)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "text/csv"}
        with httpx.Client(transport=transport, headers=headers, timeout=30) as client:
            for piece in pieces:
                while not self._taken(client, piece):
                    self._stop.wait(RETRY_SECONDS)

    def _taken(self, client: httpx.Client, piece: str) -> bool:
        began = time.monotonic()
        try:
            status = client.post("http://intake/v1/readings", content=piece).status_code
        except httpx.HTTPError:
            status = 0
        taken = status == 202
        assert taken or status in (0, 429, 503, 507), status
        with self._lock:
            if taken:
                self.latencies.append(time.monotonic() - began)
            else:
                self.failures += 1
        return taken
