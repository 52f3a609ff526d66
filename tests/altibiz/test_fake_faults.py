"""Each fault of the fake ERP on a real connection: it does what it says, and the client sees what it means."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from altibiz.client import AltibizClient
from altibiz.fake.faults import BOOKING_KINDS, INCORRECT_KINDS, NONSENSE_KINDS
from altibiz.fake.server import FakeAltibiz
from billing.erp_answers import Outcome, OutcomeKind
from testkit.waiting import wait_until
from tests.support.altibiz_samples import INVOICE, TOTAL, Clock, client_of, invoice_id, offer_body

OTHER = invoice_id(8)


class Rig:
    """A fake ERP, its control, and a client."""

    def __init__(self, erp: FakeAltibiz, clock: Clock, ledger: Path) -> None:
        self.erp, self.clock, self.ledger_path = erp, clock, ledger
        self.client: AltibizClient = client_of(erp.base_url)
        self.control = httpx.Client(base_url=erp.root_url + "/control", trust_env=False)

    def fault(self, **fault: Any) -> dict[str, Any]:
        answer = self.control.post("/faults", json=fault)
        assert answer.status_code == 201, answer.text
        added: dict[str, Any] = answer.json()
        return added

    def offer(self, of: str = INVOICE) -> OutcomeKind:
        return self.client.offer(of, offer_body(of), TOTAL).kind

    def booked(self) -> list[str]:
        """Ids by the lines of the ledger's file."""
        lines = [json.loads(line) for line in self.ledger_path.read_text("utf-8").splitlines()]
        return [line["id"] for line in lines if line["kind"] == "booked"]

    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = self.control.get("/stats").json()
        return found


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    clock = Clock()
    ledger = tmp_path / "ledger.jsonl"
    with FakeAltibiz(now=clock, ledger_path=ledger) as erp:
        made = Rig(erp, clock, ledger)
        yield made
        made.client.close()
        made.control.close()


@pytest.mark.parametrize("when", ["request", "before", "after"])
def test_a_drop_resets_the_connection_with_or_without_a_booking(rig: Rig, when: str) -> None:
    rig.fault(kind="drop", when=when, remaining=1)
    found = rig.client.offer(INVOICE, offer_body(), TOTAL)
    assert found.kind is OutcomeKind.UNREACHABLE
    assert found.request_left
    assert rig.booked() == ([INVOICE] if when == "after" else [])
    asked = rig.client.ask(INVOICE, TOTAL).kind
    assert asked is (OutcomeKind.BOOKED if when == "after" else OutcomeKind.ABSENT)


def test_a_cut_answer_and_a_trickled_one_are_booked_but_not_told(rig: Rig) -> None:
    rig.fault(kind="cut", remaining=1)
    assert rig.offer() is OutcomeKind.UNREACHABLE
    rig.fault(kind="trickle", seconds=0.05, remaining=1)
    slow = rig.client.offer(OTHER, offer_body(OTHER), TOTAL)
    assert slow.kind is OutcomeKind.UNREACHABLE
    assert slow.duration_seconds < 4
    assert rig.booked() == [INVOICE, OTHER]


def test_a_trickle_that_is_fast_enough_is_an_answer(rig: Rig) -> None:
    rig.fault(kind="trickle", seconds=0.0, remaining=1)
    assert rig.offer() is OutcomeKind.BOOKED


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hang_ends_with_the_clients_patience(rig: Rig, when: str) -> None:
    rig.fault(kind="hang", when=when)
    assert rig.offer() is OutcomeKind.UNREACHABLE
    assert len(rig.booked()) == (when == "after")
    rig.client.close()
    wait_until(lambda: rig.stats()["in_flight"] == 0)


def test_a_held_request_goes_on_when_released(rig: Rig) -> None:
    rig.fault(kind="hold", remaining=1)
    with ThreadPoolExecutor(1) as pool:
        patient = client_of(rig.erp.base_url, read_timeout_seconds=20, total_timeout_seconds=20)
        waiting = pool.submit(patient.offer, INVOICE, offer_body(), TOTAL)
        wait_until(lambda: rig.stats()["held"] == [INVOICE])
        assert rig.stats()["in_flight"] == 1
        assert rig.booked() == []
        assert rig.control.post("/release").json() == {"released": [INVOICE]}
        assert waiting.result(10).kind is OutcomeKind.BOOKED
        patient.close()
    assert rig.stats()["held"] == []


def test_a_delay_is_only_a_delay(rig: Rig) -> None:
    rig.fault(kind="delay", seconds=0.2, remaining=1)
    found = rig.client.offer(INVOICE, offer_body(), TOTAL)
    assert found.kind is OutcomeKind.BOOKED
    assert found.duration_seconds >= 0.2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (500, OutcomeKind.ERROR),
        (502, OutcomeKind.ERROR),
        (503, OutcomeKind.ERROR),
        (429, OutcomeKind.ERROR),
        (408, OutcomeKind.ERROR),
        (400, OutcomeKind.REFUSED),
        (413, OutcomeKind.REFUSED),
        (422, OutcomeKind.REFUSED),
        (401, OutcomeKind.CREDENTIALS),
        (403, OutcomeKind.CREDENTIALS),
        (404, OutcomeKind.NOT_CONTRACT),
        (409, OutcomeKind.CONFLICT),
        (204, OutcomeKind.NOT_CONTRACT),
        (302, OutcomeKind.NOT_CONTRACT),
        (599, OutcomeKind.ERROR),
    ],
)
def test_any_status_can_be_answered(rig: Rig, status: int, kind: OutcomeKind) -> None:
    rig.fault(kind="status", status=status, retry_after="7", remaining=1)
    found = rig.client.offer(INVOICE, offer_body(), TOTAL)
    assert (found.kind, found.status) == (kind, status)
    assert found.retry_after_seconds == (7 if kind is OutcomeKind.ERROR else None)
    assert rig.booked() == []


def test_a_status_after_booking_and_with_a_body_of_its_own(rig: Rig) -> None:
    rig.fault(kind="status", status=500, when="after", body="{}", remaining=1)
    assert rig.offer() is OutcomeKind.ERROR
    assert rig.offer() is OutcomeKind.BOOKED
    assert rig.booked() == [INVOICE]


@pytest.mark.parametrize("kind", NONSENSE_KINDS)
def test_an_answer_can_say_nothing(rig: Rig, kind: str) -> None:
    rig.fault(kind=kind, remaining=2)
    assert rig.offer() is OutcomeKind.NONSENSE
    assert rig.client.ask(INVOICE, TOTAL).kind is OutcomeKind.NONSENSE
    assert rig.offer() is OutcomeKind.BOOKED
    assert rig.booked() == [INVOICE]


@pytest.mark.parametrize("kind", sorted({*INCORRECT_KINDS} - {"foreign_bill_id", "changed_bill_id", "step_back"}))
def test_an_answer_can_be_wrong_by_itself(rig: Rig, kind: str) -> None:
    rig.fault(kind=kind, remaining=1)
    assert rig.offer() is OutcomeKind.INCORRECT
    assert rig.offer() is OutcomeKind.BOOKED


def test_an_answer_can_be_wrong_beside_what_we_know(rig: Rig) -> None:
    """These can be trusted by themselves; only our stored state shows that they are wrong."""
    assert rig.offer(OTHER) is OutcomeKind.BOOKED
    bill_ids = []
    for kind in (None, "foreign_bill_id", "changed_bill_id", "step_back"):
        if kind is not None:
            rig.fault(kind=kind, invoice_id=INVOICE, remaining=1)
        booking = rig.client.offer(INVOICE, offer_body(), TOTAL).booking
        assert booking is not None
        bill_ids.append((booking.state, booking.bill_id))
    assert bill_ids == [
        ("registered", "ALT-000002"),
        ("registered", "ALT-000001"),
        ("registered", "ALT-000002-1"),
        ("initiated", None),
    ]


def test_the_verdict_can_take_its_time(rig: Rig) -> None:
    rig.fault(kind="initiated", seconds=60, remaining=2)
    for of in (INVOICE, OTHER):
        found = rig.client.offer(of, offer_body(of), TOTAL).booking
        assert found is not None
        assert found.state == "initiated"
    rig.clock.advance(59)
    assert rig.client.ask(INVOICE, TOTAL).detail == "initiated"
    order = {"invoice_id": OTHER, "state": "aborted", "abort_reason": "no such project"}
    assert rig.control.post("/verdict", json=order).json() == {"settled": 1}
    other = rig.client.ask(OTHER, TOTAL).booking
    assert other is not None
    assert (other.state, other.abort_reason) == ("aborted", "no such project")
    rig.clock.advance(1)
    assert rig.client.ask(INVOICE, TOTAL).detail == "registered"


def test_a_booking_can_be_aborted(rig: Rig) -> None:
    rig.fault(kind="abort", reason="no such project", invoice_id=INVOICE)
    booking = rig.client.offer(INVOICE, offer_body(), TOTAL).booking
    assert booking is not None
    assert (booking.state, booking.abort_reason) == ("aborted", "no such project")
    assert rig.offer(OTHER) is OutcomeKind.BOOKED


def test_an_erp_that_books_twice_shows_it(rig: Rig) -> None:
    rig.fault(kind="book_twice")
    rig.offer()
    rig.offer()
    assert rig.booked() == [INVOICE, INVOICE]
    ledger = rig.control.get("/ledger").json()["bookings"]
    assert [entry["bill_id"] for entry in ledger] == ["ALT-000001", "ALT-000002"]


def test_a_fault_keeps_to_its_scope(rig: Rig) -> None:
    one = rig.fault(kind="status", status=500, invoice_id=INVOICE, method="PUT")
    assert rig.offer(OTHER) is OutcomeKind.BOOKED
    assert rig.client.ask(INVOICE, TOTAL).kind is OutcomeKind.ABSENT
    assert [rig.offer(), rig.offer()] == [OutcomeKind.ERROR, OutcomeKind.ERROR]
    assert [fault["hits"] for fault in rig.control.get("/faults").json()] == [2]
    all_of_them = rig.fault(kind="status", status=503)
    page = rig.client.page()
    assert isinstance(page, Outcome)
    assert page.kind is OutcomeKind.ERROR
    rig.control.delete(f"/faults/{one['id']}")
    assert [fault["id"] for fault in rig.control.get("/faults").json()] == [all_of_them["id"]]
    assert rig.control.delete("/faults").json() == []
    assert rig.offer() is OutcomeKind.BOOKED
    assert rig.stats()["offers"] == {INVOICE: 3, OTHER: 1}
    assert rig.stats()["asks"] == {INVOICE: 1}


@pytest.mark.parametrize(
    "fault", [{}, {"kind": "unknown"}, {"kind": "drop", "typo": 1}, {"kind": "cut", "remaining": 0}]
)
def test_a_fault_that_is_none_is_refused(rig: Rig, fault: dict[str, Any]) -> None:
    assert rig.control.post("/faults", json=fault).status_code == 422


def test_no_fault_acts_on_control(rig: Rig) -> None:
    for kind in ("drop", "hang", *BOOKING_KINDS):
        rig.fault(kind=kind)
    assert len(rig.control.get("/faults").json()) == 2 + len(BOOKING_KINDS)
