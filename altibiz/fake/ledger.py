"""Owns the fake ERP's book: every booking is on file before it is answered, and survives a kill -9."""

import json
import os
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from altibiz.outcomes import Now

Verdict = Literal["registered", "aborted"]


@dataclass(slots=True)
class Entry:
    """One booking. Its number in the book makes its bill_id, so that it never changes."""

    number: int
    invoice_id: str
    body: dict[str, Any]
    verdict: Verdict
    verdict_at: datetime
    abort_reason: str | None
    settled: bool = False

    @property
    def bill_id(self) -> str:
        return f"ALT-{self.number:06d}"

    def as_booking(self) -> dict[str, Any]:
        """The booking as the contract shows it."""
        state = self.verdict if self.settled else "initiated"
        return {
            "network_user_invoice_id": self.invoice_id,
            "state": state,
            "bill_id": self.bill_id if state == "registered" else None,
            "abort_reason": self.abort_reason if state == "aborted" else None,
            "total_with_tax_eur": self.body["total_with_tax_eur"],
        }


class Ledger:
    """The bookings in order, and one JSON line in the file for each thing that happened to one.

    Lines are of the kinds `booked`, `verdict` and `offered-again`. Without a path nothing outlives the object.
    """

    def __init__(self, path: str | Path | None, now: Now) -> None:
        """Reads the file back; raises OSError, and ValueError for a file that is no ledger."""
        self._now = now
        self._entries: list[Entry] = []
        self._first_of: dict[str, Entry] = {}
        self.offers: Counter[str] = Counter()
        self._file: int | None = None
        if path is not None:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._read_back(Path(path).read_bytes())

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def find(self, invoice_id: str) -> Entry | None:
        """The booking of an invoice as it stands now (the first, if this ERP was told to book twice)."""
        entry = self._first_of.get(invoice_id)
        if entry is not None:
            self._settle_if_time(entry)
        return entry

    def all(self) -> list[Entry]:
        for entry in self._entries:
            self._settle_if_time(entry)
        return self._entries

    def book(
        self, invoice_id: str, body: dict[str, Any], *, initiated_seconds: float = 0.0, abort_reason: str | None = None
    ) -> Entry:
        """Enter a booking, on file before this returns; its verdict comes later, and is an abort with a reason."""
        at = self._now()
        line: dict[str, Any] = {
            "kind": "booked",
            "at": at.isoformat(),
            "id": invoice_id,
            "number": len(self._entries) + 1,
            "verdict": "registered" if abort_reason is None else "aborted",
            "verdict_at": (at + timedelta(seconds=initiated_seconds)).isoformat(),
            "abort_reason": abort_reason,
            "body": body,
        }
        entry = self._enter(line)
        entry.settled = initiated_seconds <= 0
        self._append(line, *([self._verdict_line(entry)] if entry.settled else []))
        return entry

    def offered_again(self, entry: Entry, status: int) -> None:
        """Count an offer of what is booked already, with how it was answered."""
        self.offers[entry.invoice_id] += 1
        self._append({"kind": "offered-again", "at": self._now().isoformat(), "id": entry.invoice_id, "status": status})

    def settle(self, entry: Entry, verdict: Verdict, abort_reason: str | None) -> None:
        """Give the verdict of an initiated booking now; a given one stays."""
        if not entry.settled:
            entry.verdict, entry.abort_reason, entry.settled = verdict, abort_reason, True
            self._append(self._verdict_line(entry))

    def _settle_if_time(self, entry: Entry) -> None:
        if not entry.settled and self._now() >= entry.verdict_at:
            self.settle(entry, entry.verdict, entry.abort_reason)

    def _enter(self, line: dict[str, Any]) -> Entry:
        number, invoice_id, body, verdict, at, reason = (
            line[name] for name in ("number", "id", "body", "verdict", "verdict_at", "abort_reason")
        )
        entry = Entry(number, invoice_id, body, verdict, datetime.fromisoformat(at), reason)
        self._entries.append(entry)
        self._first_of.setdefault(entry.invoice_id, entry)
        self.offers[entry.invoice_id] += 1
        return entry

    def _verdict_line(self, entry: Entry) -> dict[str, Any]:
        return {
            "kind": "verdict",
            "at": self._now().isoformat(),
            "id": entry.invoice_id,
            "number": entry.number,
            "state": entry.verdict,
            "bill_id": entry.bill_id if entry.verdict == "registered" else None,
            "abort_reason": entry.abort_reason,
        }

    def _append(self, *lines: dict[str, Any]) -> None:
        if self._file is None:
            return
        data = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)
        if os.write(self._file, data) != len(data):
            raise OSError("the ledger's disk is full")

    def _read_back(self, content: bytes) -> None:
        whole = content.rfind(b"\n") + 1
        if whole < len(content) and self._file is not None:
            os.ftruncate(self._file, whole)  # a kill came in the middle of the last line: it was never answered
        for text in content[:whole].splitlines():
            line = json.loads(text)
            match line["kind"]:
                case "booked":
                    self._enter(line)
                case "verdict":
                    entry = self._entries[line["number"] - 1]
                    entry.verdict, entry.abort_reason = line["state"], line["abort_reason"]
                    entry.settled = True
                case "offered-again":
                    self.offers[line["id"]] += 1
                case kind:
                    raise ValueError(f"not a ledger: kind {kind!r}")
