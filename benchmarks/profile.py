"""What an invoice costs of CPU: the daemon's and PostgreSQL's, and which code of the daemon holds the interpreter."""

import argparse
import signal
import statistics
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from benchmarks.environment import MONTH, deployments, one, server, start_erp, table, wait_registered
from benchmarks.pipeline import QUIET, SPAN
from testkit.usage import cpu_seconds
from testkit.waiting import wait_until
from tests.support.small_load import write_load

HEADS = ["invoices/s", "CPU ms an invoice: daemon", "PostgreSQL"]


def measure(
    folder: Path, users: int, delay_ms: int, stacks: Path | None = None, collector: str | None = None
) -> list[float]:
    """What HEADS says, without the daemon's start; `stacks` is where py-spy's samples go."""
    master, readings = write_load(folder / "load", users=users, first=MONTH, months=1)
    with (
        server(folder / "server") as made,
        deployments(folder, made.url(), QUIET | ({"telemetry": {"otlp_endpoint": collector}} if collector else {})) as (
            deployment,
        ),
    ):
        start_erp(deployment, delay_ms / 1000)
        deployment.daemon.start()
        start = cpu_seconds(deployment.daemon.running_pid())
        deployment.daemon.stop()
        deployment.do("import", "master", str(master))
        deployment.do("import", "readings", str(readings))
        before = cpu_seconds(made.pid or 0, children=True)
        deployment.daemon.start(wait=False)
        pid = deployment.daemon.running_pid()
        wait_until(lambda: deployment.counts().get("registered", 0) > 0, within_seconds=60)
        with _sampled(pid, stacks):
            wait_registered(deployment, users, within_seconds=600)
            daemon, database = cpu_seconds(pid) - start, cpu_seconds(made.pid or 0, children=True) - before
        with deployment.database() as connected:
            return [users / float(one(connected, SPAN)), 1000 * daemon / users, 1000 * database / users]


class _Collector(BaseHTTPRequestHandler):
    """Takes all traces, and forgets them."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Says nothing."""


def _cost_of_traces(folder: Path, users: int, delay_ms: int, rounds: int) -> None:
    """Pairs of runs with traces and without, each first in every other one."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url, ratios = f"http://127.0.0.1:{server.server_port}", []
        for number in range(rounds):
            found = {
                on: measure(folder / f"{number}-{on}", users, delay_ms, collector=url if on else None)
                for on in (bool(number % 2), not number % 2)
            }
            ratios.append([traced / plain for plain, traced in zip(found[False], found[True], strict=True)])
            print(number, found, flush=True)
        print(
            "with traces to without, medians:",
            dict(zip(HEADS, map(statistics.median, zip(*ratios, strict=True)), strict=True)),
        )
        server.shutdown()


@contextmanager
def _sampled(pid: int, stacks: Path | None) -> Iterator[None]:
    if stacks is None:
        yield
        return
    command = [
        "py-spy",
        "record",
        "--gil",
        "--threads",
        "--nonblocking",
        "-r",
        "200",
        "-f",
        "raw",
        "-o",
        str(stacks),
        "-p",
        str(pid),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as sampler:
        try:
            yield
        finally:
            sampler.send_signal(signal.SIGINT)  # it then writes its file


def _shares(stacks: Path, depth: int) -> str:
    """Of each thread, and of each function with what it calls in it, the share of all samples."""
    samples: Counter[str] = Counter()
    for line in stacks.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        thread = "courier" if "courier" in thread else thread.partition(": ")[2] or thread
        for name in {thread, *(f"{thread}: {frame.rpartition(':')[0]}" for frame in frames)}:
            samples[name] += int(count)
        samples[""] += int(count)
    every = samples.pop("")
    return table(
        ["where", "share"], [[name, f"{100 * count / every:.1f} %"] for name, count in samples.most_common(depth)]
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--users", type=int, default=3000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--delay-ms", type=int, default=20)
    arguments.add_argument(
        "--shares", type=int, default=0, metavar="ROWS", help="of code, in one further round; py-spy"
    )
    arguments.add_argument("--traces", action="store_true", help="what traces cost instead")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="billingd-profile-") as name:
        folder = Path(name)
        if chosen.traces:
            _cost_of_traces(folder, chosen.users, chosen.delay_ms, chosen.rounds)
            return
        rounds = [measure(folder / str(each), chosen.users, chosen.delay_ms) for each in range(chosen.rounds)]
        print(table(HEADS, [list(each) for each in rounds]), flush=True)
        if rounds:
            print("medians:", *(f"{statistics.median(each):.2f}" for each in zip(*rounds, strict=True)), flush=True)
        if chosen.shares:
            measure(folder / "sampled", chosen.users, chosen.delay_ms, folder / "stacks")
            print(_shares(folder / "stacks", chosen.shares))


if __name__ == "__main__":
    main()
