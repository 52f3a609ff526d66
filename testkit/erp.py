"""The fake ERP as a process that tests can kill, freeze and tell to fail, and the client of its control API."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx

from testkit.ports import free_port
from testkit.waiting import NotReached, wait_until

CERTIFICATES = Path(__file__).parent / "certificates"
CONTROL_SECONDS = 20.0


class FakeErp:
    """The fake ERP on a port of the loopback that stays its own, whatever becomes of the process."""

    def __init__(self, home: Path, *, tls: bool = False, host: str = "127.0.0.1") -> None:
        self.ledger_path = home / "ledger.jsonl"
        self.port = free_port()
        scheme = "https" if tls else "http"
        self.base_url = f"{scheme}://{host}:{self.port}/api/v1"
        self._log_path = home / "erp.log"
        self._certificate = "trusted" if tls else None
        self._process: subprocess.Popen[bytes] | None = None
        # No connection is kept open: one to a process that was killed would be used once more.
        self._client = httpx.Client(
            base_url=f"{scheme}://127.0.0.1:{self.port}/control/", timeout=CONTROL_SECONDS, trust_env=False,
            verify=False, headers={"connection": "close"},
        )  # fmt: skip

    def start(self, *, certificate: str | None = None, token: str | None = None) -> None:
        """Starts it on its port, with its ledger, and waits until it answers; harmless while it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        options = {"port": self.port, "ledger_path": str(self.ledger_path), "token": token}
        if (name := certificate or self._certificate) is not None:
            options["certificate_file"] = str(CERTIFICATES / f"{name}.pem")
            options["key_file"] = str(CERTIFICATES / f"{name}-key.pem")
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "altibiz.fake.server", json.dumps(options)],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        wait_until(self._answers, what="the ERP answers", abort=self._check_runs)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, whatever state it is in, and waits; afterwards its port refuses connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(CONTROL_SECONDS)

    def kill(self) -> None:
        """Takes it off the network at once."""
        self.stop(signal.SIGKILL)

    def close(self) -> None:
        self.kill()
        self._client.close()

    def freeze(self) -> None:
        """Lets it accept connections and never answer."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on after `freeze`."""
        self._signal(signal.SIGCONT)

    def control(self, method: str, path: str, body: object = None) -> Any:
        """Asks its control API, as in `control("GET", "stats")`. Raises httpx.HTTPError."""
        answer = self._client.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def add_fault(self, **fault: Any) -> int:
        """Tells it to do something wrong (altibiz.fake.faults.Fault); returns the fault's number."""
        return int(self.control("POST", "faults", fault)["id"])

    def clear_faults(self, ids: Iterable[int] | None = None) -> None:
        """Tells it to do nothing wrong any more."""
        for path in ["faults"] if ids is None else [f"faults/{number}" for number in ids]:
            self.control("DELETE", path)

    def hits(self, ids: Iterable[int]) -> int:
        """How many requests these faults have acted on."""
        wanted = set(ids)
        return sum(fault["hits"] for fault in self.control("GET", "faults") if fault["id"] in wanted)

    def give_verdicts(self, **order: Any) -> None:
        """Registers whatever waits for a verdict, or what the order says (altibiz.fake.app)."""
        self.control("POST", "verdict", order)

    def stats(self) -> dict[str, Any]:
        """How many requests it has seen and has in hand, and how often each invoice was offered."""
        return dict(self.control("GET", "stats"))

    def ledger(self) -> dict[str, dict[str, Any]]:
        """Its bookings by invoice id; that each stands once is asserted."""
        bookings = self.control("GET", "ledger")["bookings"]
        found = {each["network_user_invoice_id"]: each for each in bookings}
        assert len(found) == len(bookings), "the ERP has a booking twice"
        return found

    def offered_again(self) -> list[str]:
        """The invoices that were offered when it had them already; read from the ledger's file."""
        return sorted({entry["id"] for entry in self._lines() if entry["kind"] == "offered-again"})

    def bookings(self) -> list[dict[str, Any]]:
        """The lines of the ledger's file of the kind `booked`, with their verdicts: what it has on file."""
        booked: dict[int, dict[str, Any]] = {}
        for entry in self._lines():
            if entry["kind"] == "booked":
                booked[entry["number"]] = {**entry, "state": "initiated", "bill_id": None}
            elif entry["kind"] == "verdict":
                booked[entry["number"]] |= {"state": entry["state"], "bill_id": entry["bill_id"]}
        return list(booked.values())

    def _lines(self) -> list[dict[str, Any]]:
        if not self.ledger_path.exists():
            return []
        # A kill can cut the last line; that request was never answered.
        whole = self.ledger_path.read_text("utf-8").rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            return bool(self.stats())
        except httpx.HTTPError:
            return False

    def _check_runs(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise NotReached(f"the fake ERP ended: {self._log_path.read_text()[-2000:]}")
