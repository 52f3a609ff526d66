"""Owns the fake ERP's side of the contract, with the faults put between, and the control by which tests order them."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from altibiz.contract import NetworkUserInvoice
from altibiz.fake import answers
from altibiz.fake.answers import Transports, json_answer, problem
from altibiz.fake.faults import INCORRECT_KINDS, NONSENSE_KINDS, Fault, Faults, falsify
from altibiz.fake.ledger import Entry, Ledger

BASE_PATH: Final = "/api/v1"
BODY_LIMIT_BYTES: Final = 1_000_000
PAGE_LIMIT: Final = 1000

Decided = tuple[Response, Entry | None]
"""The right answer, and the booking it shows."""


class VerdictOverride(BaseModel):
    """The verdict on initiated bookings, due now; without `invoice_id` on all of them."""

    model_config = ConfigDict(extra="forbid")

    invoice_id: str | None = None
    state: Literal["registered", "aborted"] = "registered"
    abort_reason: str = Field(default="refused by the bookkeeper", min_length=1, max_length=500)


@dataclass
class Fake:
    """What the requests share; all of it lives in one event loop.

    It is controlled by JSON; no token is asked for, and no fault acts there:
    - POST /control/faults: a fault as faults.Fault describes it; answers it with its `id`.
    - GET /control/faults: those in force, with the `hits` of each. DELETE /control/faults[/ID]: all, or one.
    - POST /control/release: lets every held request go on; later ones are held anew.
    - POST /control/verdict: `{invoice_id?, state?, abort_reason?}` settles what is initiated; says how many.
    - GET /control/ledger: every booking, as the contract shows it, with `number`, `offers` and `body`.
    - GET /control/stats: `requests`, `in_flight`, `held` (invoice ids), `offers` and `asks` by invoice id.
    """

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
                Route("/control/faults", self._add_fault, methods=["POST"]),
                Route("/control/faults", self._faults, methods=["GET"]),
                Route("/control/faults", self._clear_faults, methods=["DELETE"]),
                Route("/control/faults/{id:int}", self._clear_faults, methods=["DELETE"]),
                Route("/control/release", self._release, methods=["POST"]),
                Route("/control/verdict", self._verdict, methods=["POST"]),
                Route("/control/ledger", self._show_ledger, methods=["GET"]),
                Route("/control/stats", self._stats, methods=["GET"]),
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

    async def _faulty(self, fault: Fault | None, invoice_id: str, decide: Callable[[], Decided]) -> Response:
        """The answer that `decide` books and gives, with the fault before, after or in place of it."""
        if fault is None:
            return decide()[0]
        if fault.when != "after" and (instead := await self._interfere(fault, invoice_id)):
            return instead
        answer, entry = decide()
        if fault.when == "after" and (instead := await self._interfere(fault, invoice_id)):
            return instead
        if fault.kind == "cut":
            return self._raw(answers.cut(answer))
        if fault.kind == "trickle":
            return self._raw(answers.trickle(answer, fault.seconds))
        if entry is None:
            return answer
        if fault.kind in NONSENSE_KINDS:
            return answers.nonsense(fault, entry.as_booking())
        if fault.kind in INCORRECT_KINDS:
            return json_answer(falsify(fault, entry, self.ledger), answer.status_code)
        return answer

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

    def _decide(self, request: Request, invoice_id: str, body: bytes | None) -> Decided:
        if not self._may(request):
            return problem(401, "no such token"), None
        if request.method == "PUT":
            return self._offer(invoice_id, body)
        entry = self.ledger.find(invoice_id)
        if entry is None:
            return problem(404, "no such booking"), None
        return json_answer(entry.as_booking()), entry

    def _may(self, request: Request) -> bool:
        return self.token is None or request.headers.get("authorization") == f"Bearer {self.token}"

    def _offer(self, invoice_id: str, body: bytes | None) -> Decided:
        if body is None:
            return problem(413, f"more than {BODY_LIMIT_BYTES} bytes"), None
        try:
            offered = json.loads(body)
        except (ValueError, RecursionError):
            return problem(400, "not JSON"), None
        try:
            invoice = NetworkUserInvoice.model_validate(offered)
        except ValidationError as error:
            return problem(422, _what_is_wrong(error)), None
        if invoice.network_user_invoice_id != invoice_id:
            return problem(422, "network_user_invoice_id is not the path's"), None
        return self._book(invoice_id, offered)

    def _book(self, invoice_id: str, offered: dict[str, Any]) -> Decided:
        entry = self.ledger.find(invoice_id)
        fault = self.faults.take("PUT", invoice_id, booking=True)
        if entry is None or (fault is not None and fault.kind == "book_twice"):
            seconds = fault.seconds if fault is not None and fault.kind == "initiated" else 0.0
            reason = fault.reason if fault is not None and fault.kind == "abort" else None
            entry = self.ledger.book(invoice_id, offered, initiated_seconds=seconds, abort_reason=reason)
            return json_answer(entry.as_booking(), 201), entry
        status = 200 if entry.body == offered else 409
        self.ledger.offered_again(entry, status)
        if status == 409:
            return problem(409, "known with another body"), None
        return json_answer(entry.as_booking()), entry

    async def _list(self, request: Request) -> Response:
        fault = self.faults.take("GET", None, booking=False)
        return await self._faulty(fault, "", lambda: (self._page(request), None))

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

    # Its control

    async def _add_fault(self, request: Request) -> Response:
        try:
            fault = Fault.model_validate_json(await request.body())
        except ValidationError as error:
            return problem(422, str(error))
        return json_answer(self.faults.add(fault).model_dump(), 201)

    async def _faults(self, _: Request) -> Response:
        return json_answer([fault.model_dump() for fault in self.faults.all()])

    async def _clear_faults(self, request: Request) -> Response:
        self.faults.clear(request.path_params.get("id"))
        return await self._faults(request)

    async def _release(self, _: Request) -> Response:
        released = list(self.held)
        self.held.clear()
        self.released.set()  # wakes the requests that wait now
        self.released.clear()
        return json_answer({"released": released})

    async def _verdict(self, request: Request) -> Response:
        try:
            order = VerdictOverride.model_validate_json(await request.body() or b"{}")
        except ValidationError as error:
            return problem(422, str(error))
        about = [entry for entry in self.ledger.all() if order.invoice_id in (None, entry.invoice_id)]
        settled = [entry for entry in about if not entry.settled]
        for entry in settled:
            self.ledger.settle(entry, order.state, order.abort_reason if order.state == "aborted" else None)
        return json_answer({"settled": len(settled)})

    async def _show_ledger(self, _: Request) -> Response:
        offers = self.ledger.offers
        shown = [
            {"number": each.number, "offers": offers[each.invoice_id], "body": each.body, **each.as_booking()}
            for each in self.ledger.all()
        ]
        return json_answer({"bookings": shown})

    async def _stats(self, _: Request) -> Response:
        shown = ("requests", "in_flight", "held", "offers", "asks")
        return json_answer({name: getattr(self, name) for name in shown})


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
