"""Authentication for the control room: the token, browser sessions, and requests from other sites."""

import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import Request

SESSION_SECONDS = 12 * 3600.0
SESSIONS_AT_MOST = 64
FAILURES_AT_MOST = 5
LOCKOUT_SECONDS = 10.0
"""After FAILURES_AT_MOST wrong tokens in this time, from any clients, further ones are told to wait for its end."""


class TooManyAttempts(Exception):  # noqa: N818 - it says what happened
    """This token is wrong, too, after too many lately. The right one is taken all the same."""


@dataclass(frozen=True, slots=True)
class Session:
    """A client that has shown the token, of which this has the hash; each form of a browser must send `form_key`.

    `name` is who the person said to be. `id_hash` is None of a program, which shows the token each time.
    """

    token: bytes
    id_hash: bytes | None = None
    form_key: str | None = None
    name: str = ""
    until_seconds: float = float("inf")

    def owns_form_key(self, form_key: str) -> bool:
        """Whether a form is from a page of this session. A request with the token in a header needs no form key."""
        return self.form_key is None or hmac.compare_digest(self.form_key.encode(), form_key.encode())


class Authenticator:
    """Checks tokens. A browser then has a session, which ends when the token changes or the process ends."""

    def __init__(self, token: Callable[[], str | None], instance: str, now: Callable[[], float]) -> None:
        """`now` is the monotonic clock, in seconds."""
        self._token = token
        self._now = now
        self._sessions: dict[bytes, Session] = {}
        self._failures: deque[float] = deque(maxlen=FAILURES_AT_MOST)
        # Browsers don't tell ports apart: daemons on one machine would end each other's sessions.
        self.cookie = f"billingd_room_{hashlib.sha256(instance.encode()).hexdigest()[:8]}"

    @property
    def enabled(self) -> bool:
        return self._token() is not None

    def authenticate(self, request: Request) -> Session | None:
        """The session of a request, None if it has none. Raises TooManyAttempts."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return Session(self._expected()) if self._is_right(given.strip()) else None
        session = self._sessions.get(_digest(request.cookies.get(self.cookie, "")))
        return session if session is not None and self.is_valid(session) else None

    def is_valid(self, session: Session) -> bool:
        """Whether the session has not ended since."""
        known = session.id_hash is None or session.id_hash in self._sessions
        return known and session.until_seconds >= self._now() and session.token == self._expected()

    def sign_in(self, given: str, name: str) -> str | None:
        """The id of a new session, None for a wrong token. Raises TooManyAttempts."""
        if not self._is_right(given):
            return None
        session_id = secrets.token_urlsafe(32)
        if len(self._sessions) >= SESSIONS_AT_MOST:
            del self._sessions[next(iter(self._sessions))]
        id_hash, form_key = _digest(session_id), secrets.token_urlsafe(32)
        self._sessions[id_hash] = Session(self._expected(), id_hash, form_key, name, self._now() + SESSION_SECONDS)
        return session_id

    def sign_out(self, session: Session) -> None:
        if session.id_hash is not None:
            self._sessions.pop(session.id_hash, None)

    def _is_right(self, given: str) -> bool:
        if self.enabled and hmac.compare_digest(_digest(given), self._expected()):
            return True
        now = self._now()
        if len(self._failures) == FAILURES_AT_MOST and now - self._failures[0] < LOCKOUT_SECONDS:
            raise TooManyAttempts
        self._failures.append(now)
        return False

    def _expected(self) -> bytes:
        return _digest(self._token() or "")


def is_known_host(host: str | None, hosts: Collection[str]) -> bool:
    """Whether a request's Host may name us; `hosts` are the configured names.

    A page of another site can give its own name our address (DNS rebinding), and then read our pages as its own. Such a
    name has a dot, and is no address.
    """
    name = _hostname(f"//{host}")
    if host is None or "." not in name or name.endswith(".localhost") or name in {each.lower() for each in hosts}:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_cross_site(request: Request, hosts: Collection[str]) -> bool:
    """Whether a page of another site had a browser send this. A proxy may change Host if `hosts` has its name."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return True
    origin = request.headers.get("origin")
    if origin is None or origin.partition("://")[2] == request.headers.get("host"):
        return False
    return _hostname(origin) not in {each.lower() for each in hosts}


def _hostname(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return "not.a.name"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
