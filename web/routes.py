"""The addresses of the control room: what each answers, to whom, and with which headers."""

import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from billing.identity import is_invoice_id
from billing.states import State
from config.sections import OpsSettings
from persistence import imports
from persistence.connection.database import Database
from persistence.connection.statements import notify
from persistence.invoices import held_invoices
from persistence.invoices.listing import browse, show_invoices
from web.auth import LOCKOUT_SECONDS, Authenticator, Session, TooManyAttempts, is_cross_site, is_known_host
from web.background_queries import BackgroundQueries, DatabaseUnavailable
from web.event_stream import OverviewFeed
from web.formatting import NO_REASON
from web.templating import render

logger = logging.getLogger(__name__)

ACTOR = "control room"
FORM_BYTES_AT_MOST = 16_384
PAGE_SIZE = 50
REASON_CHARACTERS = 500
NAME_CHARACTERS = 60
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
_NEXT_PAGE = re.compile(r"/room(/invoices[A-Za-z0-9/._-]*)?(\?[A-Za-z0-9=&%+._-]*)?")

Answer = Callable[[Request, Session], Awaitable[Response]]
Form = dict[str, str]


class ControlRoom:
    """The pages for a browser; without a token in the configuration they are all 404."""

    def __init__(
        self,
        *,
        instance: str,
        token: Callable[[], str | None],
        settings: Callable[[], OpsSettings],
        status: Callable[[], dict[str, Any]],
        connect: Callable[[str], Database],
    ) -> None:
        self._instance = instance
        self._authenticator = Authenticator(token, instance, time.monotonic)
        self._settings = settings
        self._queries = BackgroundQueries(connect)
        self._status = status
        self._feed = OverviewFeed(status, self._queries, time.monotonic)

    def routes(self) -> list[Route]:
        return [
            Route("/room", self._authenticated(self._overview)),
            Route("/room/stream", self._authenticated(self._stream)),
            Route("/room/invoices", self._authenticated(self._list)),
            Route("/room/imports", self._authenticated(self._imports)),
            Route("/room/invoices/{id}", self._authenticated(self._show)),
            Route("/room/invoices/{id}/retry", self._authenticated(self._retry), methods=["POST"]),
            Route("/room/sign-in", self._secured(self._sign_in), methods=["POST"]),
            Route("/room/sign-out", self._authenticated(self._sign_out), methods=["POST"]),
            *(Route(f"/room/{name}", self._secured(partial(_static, name))) for name in _STATIC),
        ]

    def close(self) -> None:
        self._feed.closed = True

    # Authentication

    def _secured(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """404 without a token, 403 for a form of another site, and the same headers on every answer."""

        async def secured(request: Request) -> Response:
            try:
                if (refusal := self.refuse_host(request)) is not None:
                    response: Response = refusal
                elif not self._authenticator.enabled:
                    response = PlainTextResponse("the control room is off (key ops.token_file)\n", status_code=404)
                elif request.method == "POST" and is_cross_site(request, self._settings().hosts):
                    response = PlainTextResponse("this was sent from another site\n", status_code=403)
                else:
                    response = await answer(request)
            except TooManyAttempts:
                response = self._sign_in_page(429, "Too many wrong tokens. Wait a little, then try again.")
                response.headers["Retry-After"] = f"{LOCKOUT_SECONDS:.0f}"
            except Exception:  # a bad client must not end the endpoint
                logger.exception("a page of the control room could not be made")
                response = PlainTextResponse("this page could not be made; the log says why\n", status_code=500)
            response.headers.update(_HEADERS)
            return response

        return secured

    def refuse_host(self, request: Request) -> Response | None:
        """The answer to a request by a name that is not ours; None for one of ours."""
        if is_known_host(request.headers.get("host"), self._settings().hosts):
            return None
        return PlainTextResponse("this name is not one of ours: list it in ops.hosts\n", status_code=421)

    def refuse_reader(self, request: Request) -> Response | None:
        """The answer to a program that may not read /status or /metrics; None if it may."""
        if (refusal := self.refuse_host(request)) is not None or not self._settings().token_for_all:
            return refusal
        try:
            if self._authenticator.authenticate(request) is not None:
                return None
            logger.warning("somebody at %s asked for %s without the token", _peer(request), request.url.path)
            status = 401
        except TooManyAttempts:
            status = 429
        return PlainTextResponse(
            "this needs the token (key ops.token_for_all)\n", status, {"WWW-Authenticate": "Bearer"}
        )

    def _authenticated(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def with_session(request: Request) -> Response:
            session = self._authenticator.authenticate(request)
            if session is None:
                if "authorization" in request.headers:
                    logger.warning("somebody at %s showed the control room a wrong token", _peer(request))
                query = f"?{request.url.query}" if request.url.query else ""
                next_page = f"{request.url.path}{query}" if request.method == "GET" else "/room"
                return self._sign_in_page(401, None, next_page)
            if request.method == "POST" and not session.owns_form_key((await _form(request)).get("form_key", "")):
                return PlainTextResponse("this form is not of this session: go back and load the page again\n", 403)
            try:
                return await answer(request, session)
            except DatabaseUnavailable as error:
                return self._problem(session, 503, "The database", str(error))

        return self._secured(with_session)

    def _sign_in_page(self, status: int, problem: str | None, next_page: str = "/room") -> Response:
        next_page = next_page if _NEXT_PAGE.fullmatch(next_page) else "/room"
        response = HTMLResponse(render("sign_in.html", next_page=next_page, problem=problem), status)
        response.headers["WWW-Authenticate"] = "Bearer"
        return response

    async def _sign_in(self, request: Request) -> Response:
        form = await _form(request)
        name, next_page = _printable(form.get("name", ""))[:NAME_CHARACTERS], form.get("next_page", "")
        if not name:
            return self._sign_in_page(400, "Say who you are: what you order is kept with it.", next_page)
        session_id = self._authenticator.sign_in(form.get("token", ""), name)
        if session_id is None:
            logger.warning("somebody at %s, as %s, showed the control room a wrong token", _peer(request), name)
            return self._sign_in_page(401, "That is not the token.", next_page)
        logger.info("%s at %s signed in to the control room", name, _peer(request))
        response = RedirectResponse(next_page if _NEXT_PAGE.fullmatch(next_page) else "/room", 303)
        response.set_cookie(
            self._authenticator.cookie, session_id, path="/room", httponly=True, samesite="strict",
            secure=_came_by_tls(request),
        )  # fmt: skip
        return response

    async def _sign_out(self, request: Request, session: Session) -> Response:
        self._authenticator.sign_out(session)
        response = RedirectResponse("/room", 303)
        response.delete_cookie(
            self._authenticator.cookie, path="/room", httponly=True, samesite="strict", secure=_came_by_tls(request)
        )
        return response

    # The pages

    def _page(
        self, session: Session, template: str, title: str, here: str = "/room/invoices", **context: Any
    ) -> Response:
        return HTMLResponse(
            render(template, title=title, instance=self._instance, form_key=session.form_key, here=here, **context)
        )

    def _problem(self, session: Session, status: int, title: str, text: str) -> Response:
        response = self._page(session, "problem.html", title, "", problem=text)
        response.status_code = status
        return response

    async def _overview(self, _: Request, session: Session) -> Response:
        return self._page(session, "overview.html", "Overview", "/room", parts=await self._feed.parts())

    async def _stream(self, _: Request, session: Session) -> Response:
        stream = self._feed.stream(lambda: self._authenticator.is_valid(session))
        return stream or PlainTextResponse("as many watch as may\n", 503)

    async def _list(self, request: Request, session: Session) -> Response:
        asked = {name: _printable(request.query_params.get(name, "")) for name in ("state", "period", "beginning")}
        after = _printable(request.query_params.get("after", ""))
        if asked["state"] not in ("", *State):
            return self._problem(session, 404, "Invoices", "there is no such state")

        filters: dict[str, Any] = {name: value for name, value in {**asked, "after": after}.items() if value}
        found = await self._queries.run(lambda connection: browse(connection, **filters, most=PAGE_SIZE + 1))
        return self._page(
            session, "invoice_list.html", "Invoices", **list_context(found, asked, self._status()["invoices"])
        )

    async def _show(self, request: Request, session: Session) -> Response:
        invoice_id = request.path_params["id"]
        found = []
        if is_invoice_id(invoice_id):
            found = await self._queries.run(lambda connection: show_invoices(connection, [invoice_id]))
        if not found:
            return self._problem(session, 404, "Invoices", "there is no such invoice")
        said = "It goes on." if request.query_params.get("said") == "goes-on" else None
        return self._page(
            session, "invoice.html", invoice_id, invoice=found[0], said=said, reason_characters=REASON_CHARACTERS
        )

    async def _imports(self, request: Request, session: Session) -> Response:
        refused = request.query_params.get("refused") == "1"
        state = "refused" if refused else None
        found = await self._queries.run(lambda connection: imports.find(connection, state=state, limit=PAGE_SIZE))
        return self._page(session, "imports.html", "Imports", "/room/imports", found=found, refused=refused)

    async def _retry(self, request: Request, session: Session) -> Response:
        invoice_id = request.path_params["id"]
        reason = _printable((await _form(request)).get("reason", ""))[:REASON_CHARACTERS]

        by = f"{ACTOR}: {session.name}" if session.name else ACTOR

        def retry(connection: Connection) -> str | None:
            problem = held_invoices.retry_held(connection, by, invoice_id, reason or NO_REASON)
            notify(connection, "retry")
            return problem

        known = is_invoice_id(invoice_id)
        problem = await self._queries.run(retry) if known else "there is no such invoice"
        if problem is not None:
            return self._problem(session, 409, invoice_id, problem)
        logger.info("%s at %s retries %s: %s", by, _peer(request), invoice_id, reason or NO_REASON)
        return RedirectResponse(f"/room/invoices/{invoice_id}?said=goes-on", 303)


def list_context(
    found: Sequence[Mapping[str, Any]], asked: Mapping[str, str], counts: Mapping[str, int]
) -> dict[str, Any]:
    """What the list of invoices shows; `found` has one more than a page if there is another."""
    tabs = [("", "all", sum(counts.values())), *((state.value, state.value, counts.get(state, 0)) for state in State)]
    return {"found": found, "asked": asked, "tabs": tabs, "page_size": PAGE_SIZE, "list_address": _list_address}


def _list_address(asked: Mapping[str, str], **changes: str) -> str:
    given = {name: value for name, value in {**asked, **changes}.items() if value}
    return f"/room/invoices?{urlencode(given)}" if given else "/room/invoices"


def _peer(request: Request) -> str:
    """Where a request comes from, for the log; what a proxy says of it stands beside."""
    said = _printable(request.headers.get("x-forwarded-for", ""))[:REASON_CHARACTERS]
    peer = request.client.host if request.client and request.client.host else "the socket"
    return f"{peer} (for {said})" if said else peer


def _came_by_tls(request: Request) -> bool:
    """Whether a proxy with TLS stands before us; whoever lies about it only makes the own cookie safer."""
    return request.headers.get("x-forwarded-proto", request.url.scheme).lower() == "https"


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
        fields = parse_qs(body.decode("utf-8", "replace"))
        request.state.form = {name: values[-1] for name, values in fields.items()}
    form: Form = request.state.form
    return form


def _printable(text: str) -> str:
    """One line, without what can't be printed."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
