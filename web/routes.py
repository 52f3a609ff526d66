"""The addresses of the control room: what each answers, to whom, and with which headers."""

import logging
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from billing.states import State
from persistence import invoices
from persistence.browsing import browse, show_invoices
from persistence.connection import notify, reader
from persistence.database import Database
from web import invoices as pages
from web import layout
from web.auth import WRONG_SECONDS, Door, TooManyTries, Visitor, from_elsewhere
from web.background_queries import Errands, Unavailable
from web.event_stream import Live
from web.formatting import NO_REASON
from web.markup import tag
from web.overview import INVOICE_ID

logger = logging.getLogger(__name__)

WHO = "control room"
FORM_BYTES_AT_MOST = 16_384
_FOLDER = Path(__file__).parent / "static"
_STATIC = {"style.css": "text/css", "app.js": "text/javascript", "icon.svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_ONWARD = re.compile(r"/room(/invoices[A-Za-z0-9/._-]*)?(\?[A-Za-z0-9=&%+._-]*)?")

Answer = Callable[[Request, Visitor], Awaitable[Response]]
Form = dict[str, str]


class ControlRoom:
    """Pages for a person with a browser, served by the ops endpoint; there is none without a token."""

    def __init__(
        self,
        *,
        instance: str,
        token: Callable[[], str | None],
        status: Callable[[], dict[str, Any]],
        connect: Callable[[str], Database],
    ) -> None:
        self._instance = instance
        self._door = Door(token, instance, time.monotonic)
        self._errands = Errands(connect)
        self._status = status
        self._live = Live(status, self._errands, time.monotonic)

    def routes(self) -> list[Route]:
        """What the endpoint serves besides its own."""
        return [
            Route("/room", self._for_visitors(self._overview)),
            Route("/room/stream", self._for_visitors(self._stream)),
            Route("/room/invoices", self._for_visitors(self._list)),
            Route("/room/invoices/{id}", self._for_visitors(self._show)),
            Route("/room/invoices/{id}/retry", self._for_visitors(self._retry), methods=["POST"]),
            Route("/room/sign-in", self._guarded(self._sign_in), methods=["POST"]),
            Route("/room/sign-out", self._for_visitors(self._sign_out), methods=["POST"]),
            *(Route(f"/room/{name}", self._guarded(partial(_static, name))) for name in _STATIC),
        ]

    def close(self) -> None:
        """Ends the streams."""
        self._live.over = True

    # Who is let in

    def _guarded(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Nothing without a token, nothing from elsewhere, and the same headers on every answer."""

        async def guarded(request: Request) -> Response:
            try:
                if not self._door.exists:
                    response: Response = PlainTextResponse(
                        "the control room is off (key ops.token_file)\n", status_code=404
                    )
                elif request.method == "POST" and from_elsewhere(request):
                    response = PlainTextResponse("this was sent from another site\n", status_code=403)
                else:
                    response = await answer(request)
            except TooManyTries:
                response = self._ask_for_token(429, "Too many wrong tokens. Wait a little, then try again.")
                response.headers["Retry-After"] = f"{WRONG_SECONDS:.0f}"
            except Exception:  # a bad client must not end the endpoint
                logger.exception("a page of the control room could not be made")
                response = PlainTextResponse("this page could not be made; the log says why\n", status_code=500)
            response.headers.update(_HEADERS)
            return response

        return guarded

    def _for_visitors(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def let_in(request: Request) -> Response:
            visitor = self._door.visitor(request)
            if visitor is None:
                query = f"?{request.url.query}" if request.url.query else ""
                onward = f"{request.url.path}{query}" if request.method == "GET" else "/room"
                return self._ask_for_token(401, None, onward)
            if request.method == "POST" and not visitor.sent((await _form(request)).get("form_key", "")):
                return PlainTextResponse("this form is not of this session: go back and load the page again\n", 403)
            try:
                return await answer(request, visitor)
            except Unavailable as error:
                return self._problem(visitor, 503, "The database", str(error))

        return self._guarded(let_in)

    def _ask_for_token(self, status: int, problem: str | None, onward: str = "/room") -> Response:
        onward = onward if _ONWARD.fullmatch(onward) else "/room"
        response = HTMLResponse(layout.sign_in(onward, problem), status)
        response.headers["WWW-Authenticate"] = "Bearer"
        return response

    async def _sign_in(self, request: Request) -> Response:
        form = await _form(request)
        session = self._door.sign_in(form.get("token", ""))
        onward = form.get("onward", "")
        if session is None:
            logger.warning("somebody showed the control room a wrong token")
            return self._ask_for_token(401, "That is not the token.", onward)
        response = RedirectResponse(onward if _ONWARD.fullmatch(onward) else "/room", 303)
        response.set_cookie(self._door.cookie, session, path="/room", httponly=True, samesite="strict")
        return response

    async def _sign_out(self, _: Request, visitor: Visitor) -> Response:
        self._door.sign_out(visitor)
        response = RedirectResponse("/room", 303)
        response.delete_cookie(self._door.cookie, path="/room", httponly=True, samesite="strict")
        return response

    # The pages

    def _page(self, visitor: Visitor, title: str, here: str, *content: object) -> Response:
        return HTMLResponse(layout.page(title, self._instance, visitor, here, *content))

    def _problem(self, visitor: Visitor, status: int, title: str, text: str) -> Response:
        return HTMLResponse(layout.problem(self._instance, visitor, title, text), status)

    async def _overview(self, _: Request, visitor: Visitor) -> Response:
        parts = await self._live.parts()
        sections = [
            tag("section", part, id=name, aria_live="polite" if name == "verdict" else None)
            for name, part in parts.items()
        ]
        return self._page(visitor, "Overview", "/room", tag("h1", "Overview", class_="unseen"), sections)

    async def _stream(self, _: Request, visitor: Visitor) -> Response:
        stream = self._live.stream(lambda: self._door.is_still_in(visitor))
        return stream or PlainTextResponse("as many watch as may\n", 503)

    async def _list(self, request: Request, visitor: Visitor) -> Response:
        asked = {name: _printable(request.query_params.get(name, "")) for name in ("state", "period", "beginning")}
        after = _printable(request.query_params.get("after", ""))
        if asked["state"] not in ("", *State):
            return self._problem(visitor, 404, "Invoices", "there is no such state")

        def look(connection: Connection) -> list[dict[str, Any]]:
            return browse(
                reader(connection),
                state=asked["state"] or None,
                period=asked["period"] or None,
                beginning=asked["beginning"],
                after=after,
                most=pages.PAGE_OF + 1,
            )

        found = await self._errands.run(look)
        content = pages.invoices_list(found, asked, self._status()["invoices"])
        return self._page(visitor, "Invoices", "/room/invoices", list(content))

    async def _show(self, request: Request, visitor: Visitor) -> Response:
        invoice_id = request.path_params["id"]
        found = []
        if INVOICE_ID.fullmatch(invoice_id):
            found = await self._errands.run(lambda connection: show_invoices(reader(connection), [invoice_id]))
        if not found:
            return self._problem(visitor, 404, "Invoices", "there is no such invoice")
        said = "It goes on." if request.query_params.get("said") == "goes-on" else None
        return self._page(visitor, invoice_id, "/room/invoices", list(pages.one_invoice(found[0], visitor, said)))

    async def _retry(self, request: Request, visitor: Visitor) -> Response:
        invoice_id = request.path_params["id"]
        reason = _printable((await _form(request)).get("reason", ""))[: pages.REASON_CHARACTERS]

        def retry(connection: Connection) -> str | None:
            problem = invoices.retry_held(connection, WHO, invoice_id, reason or NO_REASON)
            notify(connection, "retry")
            return problem

        known = INVOICE_ID.fullmatch(invoice_id)
        problem = await self._errands.run(retry) if known else "there is no such invoice"
        if problem is not None:
            return self._problem(visitor, 409, invoice_id, problem)
        return RedirectResponse(f"/room/invoices/{invoice_id}?said=goes-on", 303)


async def _static(name: str, _: Request) -> Response:
    return Response((_FOLDER / name).read_bytes(), media_type=_STATIC[name])


async def _form(request: Request) -> Form:
    """The fields of a form; none of one that is longer than any of ours."""
    if not hasattr(request.state, "form"):
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > FORM_BYTES_AT_MOST:
                body.clear()
                break
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=20)
        request.state.form = {name: values[-1] for name, values in fields.items()}
    form: Form = request.state.form
    return form


def _printable(text: str) -> str:
    """One line, without what can't be printed."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
