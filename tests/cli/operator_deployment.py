"""A month gone wrong, for tests of the operator's path: invoices held for three reasons, and an ERP that goes away."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from persistence.connection.statements import fetch_column
from testkit.deployment import Deployment
from testkit.waiting import wait_until
from tests.support.altibiz_samples import offered
from tests.support.sample import import_readings, import_sample

USERS = [f"user-{number:03d}" for number in range(1, 13)]
REFUSED = [f"{user}.2026-{month}.1" for month in ("08", "09") for user in USERS[:6]]
DISTRUSTED = [f"{user}.2026-09.1" for user in USERS[6:11]]
IN_CONFLICT = [f"{user}.2026-08.1" for user in USERS[6:9]]
CHANGED_LATER = "user-010.2026-08.1"
WITNESSES = ["user-011.2026-08.1", "user-012.2026-08.1", "user-012.2026-09.1"]
SETTINGS = {
    "instance": "billing-1",
    "erp": {
        "poll_interval_seconds": 0.2, "retry": {"base_seconds": 0.05, "max_seconds": 0.5},
        "breaker": {"reset_seconds": 0.3},
    },
    "alarms": {"raise_within_seconds": 0.5},
}  # fmt: skip


class OperatorDeployment(Deployment):
    """The sample billed by a real daemon; what others do meanwhile, by the words that docs/operations.md has for it."""

    def __init__(self, home: Path, database_url: str) -> None:
        super().__init__(home, database_url=database_url, settings=SETTINGS)
        self.happenings: dict[str, Callable[[], None]] = {
            "the ERP comes back": self._erp_comes_back,
            "the sub-projects are entered at the ERP": lambda: self._mend(REFUSED),
            "the ERP gives its bill ids again": lambda: self._mend(DISTRUSTED),
            "what went on is booked": lambda: self._settle({"held": 3, "registered": 33}),
            "the three bookings are put right at the ERP": lambda: self._put_right(IN_CONFLICT),
            "the booking is put right at the ERP": lambda: self._put_right([CHANGED_LATER]),
            "everything is booked": lambda: self._settle({"registered": 36}),
        }
        self._faults: dict[str, dict[str, Any]] = {}
        self._fault_ids: dict[str, int] = {}

    def go_wrong(self) -> None:
        """20 held for three reasons, 4 booked, and 12 whose verdict an ERP that is down owes us."""
        self.erp.start()
        for invoice_id in IN_CONFLICT:  # somebody has entered these by hand, with other amounts
            url = f"{self.erp.base_url}/network-user-invoices/{invoice_id}"
            httpx.put(url, json=offered(invoice_id), timeout=10).raise_for_status()
        unknown = json.dumps({"title": "unknown sub-project", "status": 422})
        for invoice_id in REFUSED:
            self._fault(invoice_id, kind="status", method="PUT", status=422, body=unknown)
        for invoice_id in DISTRUSTED:
            self._fault(invoice_id, kind="no_bill_id")
        for invoice_id in WITNESSES:
            self._fault(invoice_id, kind="hold", method="PUT")
            self.erp.add_fault(invoice_id=invoice_id, kind="initiated", seconds=1.0, remaining=1)
        self.daemon.start()
        import_sample(self, "08", "09")
        # A witness counts against what was refused before it: the daemon has to have stored the refusals.
        wait_until(lambda: {*REFUSED, *DISTRUSTED} <= self._answered())
        self._mend(WITNESSES)
        self.erp.control("POST", "release")
        self._settle({"held": 20, "registered": 4, "due": 12})
        for user in USERS:
            self.erp.add_fault(invoice_id=f"{user}.2026-10.1", kind="initiated", seconds=86400)
        import_readings(self, "10")
        self._settle({"held": 20, "registered": 4, "initiated": 12})
        self.erp.stop()
        self._rewrite({CHANGED_LATER: {"total_with_tax_eur": "1.00"}})
        wait_until(
            lambda: self.daemon.status()["erp"]["breaker"] == "open" and "erp_unreachable" in self.daemon.standing()
        )

    def _answered(self) -> set[str]:
        """The invoices of which the daemon has stored an answer of the ERP."""
        with self.database() as database, database.reading() as reader:
            return set(fetch_column(reader, "SELECT id FROM invoices WHERE last_outcome IS NOT NULL"))

    def _fault(self, invoice_id: str, **fault: Any) -> None:
        self._faults[invoice_id] = fault
        self._fault_ids[invoice_id] = self.erp.add_fault(invoice_id=invoice_id, **fault)

    def _mend(self, ids: Iterable[str]) -> None:
        for invoice_id in ids:
            del self._faults[invoice_id]
            self.erp.control("DELETE", f"faults/{self._fault_ids[invoice_id]}")

    def _settle(self, counts: dict[str, int]) -> None:
        """Waits until the daemon, its status and its alarms have all seen that it stands so."""

        def seen() -> bool:
            document = self.daemon.status()
            alarms = {alarm["code"] for alarm in document["alarms"]}
            stuck = {group["code"] for group in document["stuck"] if group["code"]}
            keys = {*document["periods"], "data"}  # what waits for data is one alarm
            ours = all(alarm["key"] in keys for alarm in document["alarms"])
            return document["invoices"] == counts and alarms == stuck and ours

        wait_until(seen)

    def _erp_comes_back(self) -> None:
        self._start_erp_again()
        self.erp.give_verdicts()
        self._settle({"held": 20, "registered": 16})

    def _start_erp_again(self) -> None:
        """With the faults it had; nothing of what they keep from being booked is under way."""
        self.erp.start()
        for invoice_id, fault in self._faults.items():
            self._fault(invoice_id, **fault)

    def _put_right(self, ids: Iterable[str]) -> None:
        """The ERP's bookings become what we have sent."""
        with self.database() as database, database.transaction() as connection:
            bodies = connection.execute(
                text("SELECT invoice_id, body FROM invoice_documents WHERE invoice_id = ANY(CAST(:ids AS text[]))"),
                {"ids": list(ids)},
            )
            ours = {row.invoice_id: json.loads(row.body) for row in bodies}
        self.erp.stop()
        self._rewrite(ours)
        self._start_erp_again()

    def _rewrite(self, changes: dict[str, dict[str, Any]]) -> None:
        """Changes bookings in the ledger of the ERP, which is down."""
        lines = [json.loads(line) for line in self.erp.ledger_path.read_text("utf-8").splitlines()]
        for line in lines:
            if line["kind"] == "booked":
                line["body"] |= changes.get(line["id"], {})
        self.erp.ledger_path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
