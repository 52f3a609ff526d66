"""The wire to the database and the wire to the ERP, a call at a time: where a fault of the plan is injected."""

import contextlib
import re
import socket
import struct
import threading
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable

from drills.calls.cases import ERROR, KILLED_AFTER, KILLED_BEFORE, LOST, READ_ONLY, SLOW, TIMEOUT, Plan
from testkit.proxy import Listener, reset

ANSWER_SECONDS = 5.0
_CANCEL = 80877102
_NAME_LENGTH = 60
_STATUS = {
    ERROR: (b"53100", b"no space left on device"),
    TIMEOUT: (b"57014", b"canceling statement due to timeout"),
    READ_ONLY: (b"25006", b"cannot execute it in a read-only transaction"),
}
_READY = b"Z\x00\x00\x00\x05"
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Ended(Exception):  # noqa: N818 - named for what is so
    """This connection is over, in order or by a fault."""


class Wire(Listener, ABC):
    """Listens on the loopback for the daemon, and forwards to `target_port`."""

    def __init__(self, target_port: int, plan: Plan, kill: Callable[[], None], slow_seconds: float) -> None:
        """`kill` ends the daemon as a power cut would."""
        self.target_port, self.plan, self.kill, self.slow_seconds = target_port, plan, kill, slow_seconds
        self.closed = threading.Event()
        self._open: set[socket.socket] = set()
        super().__init__()

    @abstractmethod
    def forward(self, client: socket.socket, server: socket.socket) -> None:
        """Forwards one connection, call by call, until it ends. Raises OSError, Ended."""

    def close(self) -> None:
        self.closed.set()
        super().close()
        for each in list(self._open):
            _shut(each)

    def interrupt(self, fault: str, client: socket.socket) -> None:
        """Injects a fault that lets nothing pass, or not yet. Raises Ended, but for what is only slow."""
        if fault in (KILLED_BEFORE, KILLED_AFTER):
            self.kill()
        elif fault == TIMEOUT:
            client.settimeout(ANSWER_SECONDS)
            with contextlib.suppress(OSError):  # says nothing until the daemon gives the connection up
                while client.recv(65536):
                    pass
        elif fault == SLOW:
            self.closed.wait(self.slow_seconds)
            return
        raise Ended

    def serve(self, client: socket.socket) -> None:
        server: socket.socket | None = None
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = socket.create_connection(("127.0.0.1", self.target_port), timeout=5)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.settimeout(None)
            self._open |= {client, server}
            self.forward(client, server)
        except (Ended, OSError):
            pass
        finally:
            reset(client)
            if server is not None:
                _shut(server)
                server.close()
            self._open -= {client, server} if server else {client}


class SqlWire(Wire):
    """PostgreSQL's protocol: a call is what the driver sends until it waits for an answer."""

    def forward(self, client: socket.socket, server: socket.socket) -> None:
        _SqlLink(self, client, server).run()


class _SqlLink:
    def __init__(self, wire: SqlWire, client: socket.socket, server: socket.socket) -> None:
        self._wire, self._client, self._server = wire, client, server
        self._role = "?"
        self._status = b"I"
        self._read_only = False
        self._held: list[bytes] | None = None
        self._answered = threading.Event()

    def run(self) -> None:
        """Forwards until either side ends."""
        first = _exactly(self._client, 8)
        length, code = struct.unpack("!ii", first)
        first += _exactly(self._client, length - 8)
        threading.Thread(target=self._to_client, name="wire", daemon=True).start()
        if code == _CANCEL:
            self._server.sendall(first)
            raise Ended
        self._call("sql: connect", first)
        group = b""
        while True:
            head = _exactly(self._client, 5)
            group += head + _exactly(self._client, struct.unpack("!i", head[1:])[0] - 4)
            if head[:1] in b"dpX":
                self._server.sendall(group)
                group = b""
            elif head[:1] in b"QScf":
                self._call(self._site(group), group)
                group = b""

    def _site(self, group: bytes) -> str:
        if group[:1] == b"Q":
            sql = group[5:-1]
        elif group[:1] == b"P":
            sql = group[5:].split(b"\x00", 2)[1]
        else:
            return f"sql: {self._role}: {'end of COPY' if group[:1] in b'cf' else 'sync'}"
        if found := re.search(rb"application_name TO 'billingd ([^']*)'", sql):
            self._role = re.sub(r"\d+", "N", found[1].decode())
        text = re.sub(r"\d+", "N", " ".join(sql.decode(errors="replace").split()))
        return f"sql: {self._role}: {text[:_NAME_LENGTH]}~{zlib.crc32(text.encode()):08x}"

    def _call(self, site: str, data: bytes) -> None:
        fault = self._wire.plan.arrive(site)
        connects = site == "sql: connect"
        self._read_only |= fault == READ_ONLY
        if self._read_only and not connects:
            self._refuse(READ_ONLY, data)
        elif fault in (None, READ_ONLY):
            self._server.sendall(data)
        elif fault in (ERROR, TIMEOUT) and not connects:
            self._refuse(fault, data)
        elif fault == ERROR:
            self._client.sendall(_error(b"FATAL", b"53300", b"sorry, too many clients already"))
            raise Ended
        elif fault in (LOST, KILLED_AFTER, SLOW):
            held = self._exchange(data)
            self._wire.interrupt(fault, self._client)
            self._client.sendall(held)
        else:
            self._wire.interrupt(fault, self._client)

    def _exchange(self, data: bytes) -> bytes:
        """Has the server do it, and keeps its answer back."""
        self._answered.clear()
        self._held = []
        self._server.sendall(data)
        self._answered.wait(ANSWER_SECONDS)
        held, self._held = b"".join(self._held), None
        return held

    def _refuse(self, fault: str, data: bytes) -> None:
        """Answers in the server's place; a COMMIT that is refused has rolled back."""
        ready = b"E" if self._status != b"I" else b"I"
        if data[5:11].lower() == b"commit":
            self._exchange(b"Q\x00\x00\x00\x0drollback\x00")
            ready = b"I"
        self._client.sendall(_error(b"ERROR", *_STATUS[fault]) + _READY + ready)

    def _to_client(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(65536):
                if data[-6:-1] == _READY:
                    self._status = data[-1:]
                if (held := self._held) is None:
                    self._client.sendall(data)
                    continue
                held.append(data)
                if data[-6:-1] == _READY or data[:1] in b"RG":
                    self._answered.set()
        self._answered.set()
        _shut(self._client)


class HttpWire(Wire):
    """HTTP/1.1: an exchange is as many calls as it has boundaries."""

    def forward(self, client: socket.socket, server: socket.socket) -> None:
        self._boundary("http: connect", client)
        while True:
            request, head_length = _message(client)
            method = request.split(b" ", 1)[0].decode()
            first_line = request.index(b"\r\n")
            offsets = {"request line": first_line // 2, "headers": (first_line + head_length) // 2}
            if len(request) > head_length:
                offsets["body"] = (head_length + len(request)) // 2
            sent = 0
            for name, offset in offsets.items():
                server.sendall(request[sent:offset])
                sent = offset
                self._boundary(f"http: {method}: {name}", client)
            server.sendall(request[sent:])
            answer, _ = _message(server)
            self._answer(method, answer, client)

    def _answer(self, method: str, answer: bytes, client: socket.socket) -> None:
        fault = self.plan.arrive(f"http before answer: {method}")
        if fault == ERROR:
            client.sendall(_UNAVAILABLE)
            raise Ended
        if fault is not None:
            self.interrupt(fault, client)
        client.sendall(answer[: len(answer) // 2])
        self._boundary(f"http: {method}: in the answer", client)
        client.sendall(answer[len(answer) // 2 :])

    def _boundary(self, site: str, client: socket.socket) -> None:
        if (fault := self.plan.arrive(site)) is not None:
            self.interrupt(fault, client)


def _message(sock: socket.socket) -> tuple[bytes, int]:
    """One whole message, and how long its head is. Raises Ended."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(sock)
    length = data.index(b"\r\n\r\n") + 4
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", data[:length])
    whole = length + (int(found[1]) if found else 0)
    while len(data) < whole:
        data += _some(sock)
    return data, length


def _some(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    if not data:
        raise Ended
    return data


def _exactly(sock: socket.socket, number: int) -> bytes:
    data = bytearray()
    while len(data) < number:
        piece = sock.recv(number - len(data))
        if not piece:
            raise Ended
        data += piece
    return bytes(data)


def _error(severity: bytes, code: bytes, text: bytes) -> bytes:
    fields = b"S%s\x00V%s\x00C%s\x00M%s\x00\x00" % (severity, severity, code, text)
    return b"E" + struct.pack("!i", len(fields) + 4) + fields


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
