"""Owns the fake ERP's control: faults on request, holds let go, verdicts given, and the books looked into."""

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from altibiz.fake.answers import json_answer, problem
from altibiz.fake.faults import Fault

if TYPE_CHECKING:
    from altibiz.fake.app import Fake


class VerdictOverride(BaseModel):
    """The verdict on initiated bookings, due now; without `invoice_id` on all of them."""

    model_config = ConfigDict(extra="forbid")

    invoice_id: str | None = None
    state: Literal["registered", "aborted"] = "registered"
    abort_reason: str = Field(default="refused by the bookkeeper", min_length=1, max_length=500)


def control_routes(fake: "Fake") -> list[Route]:
    """JSON in, JSON out; no token is asked for, and no fault acts here.

    - POST /control/faults: a fault as faults.Fault describes it; answers it with its `id`.
    - GET /control/faults: those in force, with the `hits` of each. DELETE /control/faults[/ID]: all, or one.
    - POST /control/release: lets every held request go on; later ones are held anew.
    - POST /control/verdict: `{invoice_id?, state?, abort_reason?}` settles what is initiated; says how many.
    - GET /control/ledger: every booking, as the contract shows it, with `number`, `offers` and `body`.
    - GET /control/stats: `requests`, `in_flight`, `held` (invoice ids), `offers` and `asks` by invoice id.
    """
    control = _Control(fake)
    return [
        Route("/control/faults", control.add_fault, methods=["POST"]),
        Route("/control/faults", control.faults, methods=["GET"]),
        Route("/control/faults", control.clear_faults, methods=["DELETE"]),
        Route("/control/faults/{id:int}", control.clear_faults, methods=["DELETE"]),
        Route("/control/release", control.release, methods=["POST"]),
        Route("/control/verdict", control.verdict, methods=["POST"]),
        Route("/control/ledger", control.ledger, methods=["GET"]),
        Route("/control/stats", control.stats, methods=["GET"]),
    ]


class _Control:
    def __init__(self, fake: "Fake") -> None:
        self._fake = fake

    async def add_fault(self, request: Request) -> Response:
        try:
            fault = Fault.model_validate_json(await request.body())
        except ValidationError as error:
            return problem(422, str(error))
        return json_answer(self._fake.faults.add(fault).model_dump(), 201)

    async def faults(self, _: Request) -> Response:
        return json_answer([fault.model_dump() for fault in self._fake.faults.all()])

    async def clear_faults(self, request: Request) -> Response:
        self._fake.faults.clear(request.path_params.get("id"))
        return await self.faults(request)

    async def release(self, _: Request) -> Response:
        fake = self._fake
        released = list(fake.held)
        fake.held.clear()
        fake.released.set()  # wakes the requests that wait now
        fake.released.clear()
        return json_answer({"released": released})

    async def verdict(self, request: Request) -> Response:
        try:
            order = VerdictOverride.model_validate_json(await request.body() or b"{}")
        except ValidationError as error:
            return problem(422, str(error))
        about = [entry for entry in self._fake.ledger.all() if order.invoice_id in (None, entry.invoice_id)]
        settled = [entry for entry in about if not entry.settled]
        for entry in settled:
            self._fake.ledger.settle(entry, order.state, order.abort_reason if order.state == "aborted" else None)
        return json_answer({"settled": len(settled)})

    async def ledger(self, _: Request) -> Response:
        ledger = self._fake.ledger
        shown = (
            {
                "number": entry.number,
                "offers": ledger.offers[entry.invoice_id],
                "body": entry.body,
                **entry.as_booking(),
            }
            for entry in ledger.all()
        )
        return json_answer({"bookings": list(shown)})

    async def stats(self, _: Request) -> Response:
        shown = ("requests", "in_flight", "held", "offers", "asks")
        return json_answer({name: getattr(self._fake, name) for name in shown})
