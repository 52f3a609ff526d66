"""Owns the fake ERP's side of the contract: offers, questions, pages, and the faults put between."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from altibiz.contract import NetworkUserInvoice
from altibiz.fake import answers
from altibiz.fake.answers import Transports, json_answer, problem
from altibiz.fake.control import control_routes
from altibiz.fake.faults import INCORRECT_KINDS, NONSENSE_KINDS, Fault, Faults, falsify
from altibiz.fake.ledger import Entry, Ledger

BASE_PATH: Final = "/api/v1"
BODY_LIMIT_BYTES: Final = 1_000_000
PAGE_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True)
class FaultDecision:
    """The right answer, and the booking it shows."""

    answer: Response
    entry: Entry | None = None


@dataclass
class Fake:
    """What the requests share; all of it lives in one event loop."""

    ledger: Ledger
    token: str | None
    transports: Transports = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    requests: int = 0
    in_flight: int = 0
    offers: Counter[str] = field(default_factory=Counter)
    """PUT requests by invoice, those included that a fault kept from the book."""
    asks: Counter[str] = field(default_factory=Counter)
    held: list[str] = field(default_factory=list)
    """Invoices whose request waits for a release."""

    def app(self) -> ASGIApp:
        collection = f"{BASE_PATH}/network-user-invoices"
        routes = Starlette(
            routes=[
                Route(f"{collection}/{{invoice_id}}", self._invoice, methods=["PUT", "GET"]),
                Route(collection, self._list, methods=["GET"]),
                *control_routes(self),
            ]
        )

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if not scope["path"].startswith(BASE_PATH):
                await routes(scope, receive, send)
                return
            self.requests += 1
            self.in_flight += 1
            try:
                await routes(scope, receive, send)
            finally:
                self.in_flight -= 1

        return counted

    async def _invoice(self, request: Request) -> Response:
        invoice_id: str = request.path_params["invoice_id"]
        (self.offers if request.method == "PUT" else self.asks)[invoice_id] += 1
        fault = self.faults.take(request.method, invoice_id, booking=False)
        if fault is not None and fault.kind == "drop" and fault.when == "request":
            return self._raw(answers.reset)
        try:
            body = await _read_body(request)
        except ClientDisconnect:
            return self._raw(answers.never)
        return await self._faulty(fault, invoice_id, lambda: self._decide(request, invoice_id, body))

    async def _faulty(self, fault: Fault | None, invoice_id: str, decide: Callable[[], FaultDecision]) -> Response:
        """The answer that `decide` books and gives, with the fault before, after or in place of it."""
        if fault is None:
            return decide().answer
        if fault.when != "after" and (instead := await self._interfere(fault, invoice_id)):
            return instead
        decided = decide()
        if fault.when == "after" and (instead := await self._interfere(fault, invoice_id)):
            return instead
        if fault.kind == "cut":
            return self._raw(answers.cut(decided.answer))
        if fault.kind == "trickle":
            return self._raw(answers.trickle(decided.answer, fault.seconds))
        if decided.entry is None:
            return decided.answer
        if fault.kind in NONSENSE_KINDS:
            return answers.nonsense(fault, decided.entry.as_booking())
        if fault.kind in INCORRECT_KINDS:
            return json_answer(falsify(fault, decided.entry, self.ledger), decided.answer.status_code)
        return decided.answer

    async def _interfere(self, fault: Fault, invoice_id: str) -> Response | None:
        match fault.kind:
            case "delay":
                await asyncio.sleep(fault.seconds)
            case "hold":
                self.held.append(invoice_id)
                await self.released.wait()
            case "hang":
                return self._raw(answers.never)
            case "drop":
                return self._raw(answers.reset)
            case "status" if fault.body is not None:
                headers = {} if fault.retry_after is None else {"retry-after": fault.retry_after}
                return Response(fault.body, fault.status, headers, "application/json")
            case "status":
                return problem(fault.status, "told to", fault.retry_after)
        return None

    def _raw(self, act: answers.Act) -> Response:
        return answers.RawResponse(self.transports, act)

    def _decide(self, request: Request, invoice_id: str, body: bytes | None) -> FaultDecision:
        if not self._may(request):
            return FaultDecision(problem(401, "no such token"))
        if request.method == "PUT":
            return self._offer(invoice_id, body)
        entry = self.ledger.find(invoice_id)
        if entry is None:
            return FaultDecision(problem(404, "no such booking"))
        return FaultDecision(json_answer(entry.as_booking()), entry)

    def _may(self, request: Request) -> bool:
        return self.token is None or request.headers.get("authorization") == f"Bearer {self.token}"

    def _offer(self, invoice_id: str, body: bytes | None) -> FaultDecision:
        if body is None:
            return FaultDecision(problem(413, f"more than {BODY_LIMIT_BYTES} bytes"))
        try:
            offered = json.loads(body)
        except (ValueError, RecursionError):
            return FaultDecision(problem(400, "not JSON"))
        try:
            invoice = NetworkUserInvoice.model_validate(offered)
        except ValidationError as error:
            return FaultDecision(problem(422, _what_is_wrong(error)))
        if invoice.network_user_invoice_id != invoice_id:
            return FaultDecision(problem(422, "network_user_invoice_id is not the path's"))
        return self._book(invoice_id, offered)

    def _book(self, invoice_id: str, offered: dict[str, Any]) -> FaultDecision:
        entry = self.ledger.find(invoice_id)
        fault = self.faults.take("PUT", invoice_id, booking=True)
        if entry is None or (fault is not None and fault.kind == "book_twice"):
            seconds = fault.seconds if fault is not None and fault.kind == "initiated" else 0.0
            reason = fault.reason if fault is not None and fault.kind == "abort" else None
            entry = self.ledger.book(invoice_id, offered, initiated_seconds=seconds, abort_reason=reason)
            return FaultDecision(json_answer(entry.as_booking(), 201), entry)
        status = 200 if entry.body == offered else 409
        self.ledger.offered_again(entry, status)
        if status == 409:
            return FaultDecision(problem(409, "known with another body"))
        return FaultDecision(json_answer(entry.as_booking()), entry)

    async def _list(self, request: Request) -> Response:
        fault = self.faults.take("GET", None, booking=False)
        return await self._faulty(fault, "", lambda: FaultDecision(self._page(request)))

    def _page(self, request: Request) -> Response:
        if not self._may(request):
            return problem(401, "no such token")
        limit = request.query_params.get("limit", "500")
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit) <= PAGE_LIMIT):
            return problem(400, "limit is a number from 1 to 1000")
        entries = self.ledger.all()
        first = 0
        if (after := request.query_params.get("after")) is not None:
            seen = [entry.number for entry in entries if entry.invoice_id == after]
            if not seen:
                return problem(400, "after is no booking's id")
            first = seen[-1]
        page = entries[first : first + int(limit)]
        following = page[-1].invoice_id if first + len(page) < len(entries) else None
        return json_answer({"bookings": [entry.as_booking() for entry in page], "next": following})


async def _read_body(request: Request) -> bytes | None:
    """The body, or None if it is too long."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_LIMIT_BYTES:
            return None
    return bytes(body)


def _what_is_wrong(error: ValidationError) -> str:
    places = (f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
    return "; ".join(places)[:400]
