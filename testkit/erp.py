"""The ERP of a drill: a process of its own, which can vanish, freeze, lie and throw, and whose ledger is a file."""

import json
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from testkit.ports import free_port
from testkit.waiting import until

CERTIFICATES = Path(__file__).parent / "certificates"
START_SECONDS = 60.0


class Erp:
    """The fake ERP on a port that stays its own, whatever becomes of the process."""

    def __init__(self, home: Path, *, tls: bool = False, host: str = "127.0.0.1") -> None:
        self.ledger_path = home / "ledger.jsonl"
        self._log_path = home / "erp.log"
        self._port = free_port()
        self._scheme = "https" if tls else "http"
        self.base_url = f"{self._scheme}://{host}:{self._port}/api/v1"
        self._certificate = "trusted" if tls else None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return self._port

    def start(self, certificate: str | None = None) -> None:
        """Starts it on its port, with its ledger, and waits until it listens; harmless while it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        command = [sys.executable, "-m", "testkit.erp_process", str(self._port), str(self.ledger_path)]
        if (name := certificate or self._certificate) is not None:
            command += [str(CERTIFICATES / f"{name}.pem"), str(CERTIFICATES / f"{name}-key.pem")]
        begun = self._log_path.stat().st_size if self._log_path.exists() else 0
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        until("the ERP listens", lambda: b"listening" in self._log_path.read_bytes()[begun:], START_SECONDS)

    def kill(self) -> None:
        """Takes it off the network at once: its port refuses connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """It accepts connections and never answers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def add_fault(self, **fault: Any) -> int:
        """Tells it to do something wrong (altibiz.fake.faults.Fault); returns the fault's number."""
        return int(self._control("POST", "faults", fault)["id"])

    def clear_faults(self, ids: Iterable[int] | None = None) -> None:
        """Tells it to do nothing wrong any more."""
        for path in ["faults"] if ids is None else [f"faults/{number}" for number in ids]:
            self._control("DELETE", path)

    def hits(self, ids: Iterable[int]) -> int:
        """How many requests these faults have acted on."""
        wanted = set(ids)
        return sum(fault["hits"] for fault in self._control("GET", "faults") if fault["id"] in wanted)

    def give_verdicts(self) -> None:
        """Registers whatever waits for a verdict."""
        self._control("POST", "verdict", {})

    def requests(self) -> int:
        """How many requests it has seen."""
        return int(self._control("GET", "stats")["requests"])

    def offered_again(self) -> list[str]:
        """The invoices that were offered when it had them already."""
        return sorted({entry["id"] for entry in self._ledger() if entry["kind"] == "offered-again"})

    def bookings(self) -> list[dict[str, Any]]:
        """The lines of its ledger of the kind `booked`, with their verdicts: what it has on file."""
        booked: dict[int, dict[str, Any]] = {}
        for entry in self._ledger():
            if entry["kind"] == "booked":
                booked[entry["number"]] = {**entry, "state": "initiated", "bill_id": None}
            elif entry["kind"] == "verdict":
                booked[entry["number"]] |= {"state": entry["state"], "bill_id": entry["bill_id"]}
        return list(booked.values())

    def _ledger(self) -> list[dict[str, Any]]:
        if not self.ledger_path.exists():
            return []
        # A kill in the middle of a line: it was never answered.
        whole = self.ledger_path.read_text("utf-8").rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def _control(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"{self._scheme}://127.0.0.1:{self._port}/control/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"content-type": "application/json"},
        )
        context = None
        if self._scheme == "https":
            context = ssl._create_unverified_context()
        try:
            with urllib.request.urlopen(request, timeout=20, context=context) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ValueError(f"the ERP's control refuses {body}: {error.read().decode()}") from error
