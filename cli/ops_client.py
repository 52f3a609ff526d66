"""Asks the ops endpoint of a running daemon for its status, over TCP or a unix socket."""

import http.client
import json
import socket
from typing import Any

from config.secrets import SecretUnreadable, token
from config.settings import Settings
from config.values import TcpAddress, UnixAddress

TIMEOUT_SECONDS = 2.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_ANSWER_BYTES_AT_MOST = 50_000_000


class NoAnswer(Exception):  # noqa: N818 - it says what happened
    """There is no answer. `silent`: the connection was taken, but no answer came."""

    def __init__(self, message: str, *, silent: bool = False) -> None:
        super().__init__(message)
        self.silent = silent


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def fetch_status(settings: Settings) -> dict[str, Any]:
    """The status document of the daemon of this configuration. Raises NoAnswer."""
    address = settings.ops.address
    if address is None or (isinstance(address, TcpAddress) and address.port == 0):
        raise NoAnswer("the ops endpoint is off or anywhere (key ops.listen)")
    connection = _connection(address)
    where = settings.ops.listen
    try:
        connection.request("GET", "/status", headers={"Connection": "close", **_credentials(settings)})
        response = connection.getresponse()
        if response.status == 401:
            raise NoAnswer(f"{where} asks for the token (key ops.token_for_all): the daemon's is another one")
        document = json.loads(response.read(_ANSWER_BYTES_AT_MOST)) if response.status == 200 else None
    except TimeoutError as error:
        raise NoAnswer(f"no answer on {where} within {TIMEOUT_SECONDS:g} s", silent=True) from error
    except OSError as error:
        raise NoAnswer(f"nobody answers on {where}: {(error.strerror or str(error)).lower()}") from error
    except (http.client.HTTPException, ValueError, RecursionError):
        document = None
    finally:
        connection.close()
    if not isinstance(document, dict) or not {"running", "verdict", "instance", "alarms"} <= document.keys():
        raise NoAnswer(f"what answers on {where} is not billingd")
    return document


def _credentials(settings: Settings) -> dict[str, str]:
    """The token's header, where the daemon asks for it. Raises NoAnswer for a token that can't be read."""
    if not settings.ops.token_for_all:
        return {}
    try:
        found = token(settings, "ops.token_file")
    except SecretUnreadable as error:
        raise NoAnswer(str(error)) from error
    return {"Authorization": f"Bearer {found.get_secret_value()}"} if found else {}


def _connection(address: TcpAddress | UnixAddress) -> http.client.HTTPConnection:
    if isinstance(address, UnixAddress):
        return _UnixConnection(str(address.path))
    return http.client.HTTPConnection(_ANY.get(address.host, address.host), address.port, timeout=TIMEOUT_SECONDS)
