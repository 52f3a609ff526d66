"""One HTTP exchange with whoever is told of alarms: one deadline for all of it, and a bounded part of the answer."""

import contextlib
import time
from pathlib import Path
from typing import Final

import httpcore
import httpx

from network.deadline import DeadlineNetworkBackend
from network.trust import client_context

_CONNECT_SECONDS, _TOTAL_SECONDS = 5.0, 10.0  # the whole exchange has one deadline
_FAILURES: Final = (
    httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpx.InvalidURL, OSError, ValueError,
)  # fmt: skip


class ExchangeFailed(Exception):  # noqa: N818 - it says what happened
    """Nobody took it; the message says why, in words."""


def exchange(
    method: str,
    url: str,
    *,
    content: bytes | None = None,
    content_type: str = "application/json",
    token: str | None = None,
    ca_file: Path | None = None,
    read_bytes: int = 0,
) -> bytes:
    """The first `read_bytes` of the answer's body, of an answer 2xx. Raises ExchangeFailed."""
    headers = {"accept-encoding": "identity", "user-agent": "billingd"}
    if content is not None:
        headers["content-type"] = content_type
    if token:
        headers["authorization"] = f"Bearer {token}"
    started = time.monotonic()
    network = DeadlineNetworkBackend(_CONNECT_SECONDS, _TOTAL_SECONDS, lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    network.begin(_TOTAL_SECONDS, float("inf"))
    body = b""
    try:
        request = httpx.Request(method, url, headers=headers, content=content)
        to = request.url
        with httpcore.ConnectionPool(
            # Read at each exchange: authorities that were renewed count at once.
            ssl_context=client_context(ca_file) if to.scheme == "https" else None,
            network_backend=network,
        ) as pool, contextlib.closing(pool.handle_request(httpcore.Request(
            method, httpcore.URL(scheme=to.raw_scheme, host=to.raw_host, port=to.port, target=to.raw_path),
            headers=request.headers.raw, content=request.content,
        ))) as response:  # fmt: skip
            for part in response.iter_stream() if read_bytes else ():
                body += part
                if len(body) >= read_bytes:
                    break
    except _FAILURES as error:
        raise ExchangeFailed(
            f"{str(error) or type(error).__name__} after {time.monotonic() - started:.1f} s"
        ) from error
    if not 200 <= response.status < 300:
        raise ExchangeFailed(f"it answers {response.status}")
    return body[:read_bytes]
